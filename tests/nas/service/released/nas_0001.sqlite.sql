BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('nas_0001');
CREATE TABLE begun_trials (
	search_id VARCHAR(32) NOT NULL, 
	sub_network_key VARCHAR(16) NOT NULL, 
	num_begun INTEGER NOT NULL, 
	CONSTRAINT pk_begun_trials PRIMARY KEY (search_id, sub_network_key), 
	CONSTRAINT fk_begun_trials_search_id FOREIGN KEY(search_id) REFERENCES searches (id) ON DELETE CASCADE
);
CREATE TABLE events (
	search_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	data JSON NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (search_id, number), 
	CONSTRAINT fk_events_search_id FOREIGN KEY(search_id) REFERENCES searches (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',1,'state','{"job": "search", "state": "queued"}',1.79529709158499526972e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',2,'state','{"job": "search", "state": "running", "worker": "a test"}',1.79529709173200726505e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',3,'trial','{"number": 0, "source": "supernet", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709193301200862e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',4,'trial','{"number": 1, "source": "smallest", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709197501540179e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',5,'front','{"hypervolume": 950431.9893664153, "trials": [1, 0]}',1.79529709198901653291e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',6,'trial','{"number": 2, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709204200363156e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',7,'front','{"hypervolume": 1491295.0559045062, "trials": [1, 2, 0]}',1.79529709205499887463e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',8,'trial','{"number": 3, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709210199117661e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',9,'front','{"hypervolume": 2022055.3949746322, "trials": [1, 2, 3, 0]}',1.79529709210899162297e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',10,'trial','{"number": 4, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709215698981281e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',11,'front','{"hypervolume": 2025298.259750856, "trials": [1, 2, 3, 4, 0]}',1.79529709217501425738e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',12,'trial','{"number": 5, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}}',1.79529709220100498201e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',13,'front','{"hypervolume": 3557573.1165962485, "trials": [1, 2, 5, 3, 4, 0]}',1.7952970922210006714e+09);
INSERT INTO "events" VALUES('614c666701944d13b8890a0e470922bd',14,'state','{"job": "search", "state": "complete", "reason": ""}',1.79529709224200248723e+09);
INSERT INTO "events" VALUES('88e527df7fdb4c09b640691c0fda3a8a',1,'state','{"job": "search", "state": "queued"}',1.79529709227998256681e+09);
CREATE TABLE jobs (
	id VARCHAR(32) NOT NULL, 
	search_id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	payload JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	num_claims INTEGER NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	created_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	ended_at DOUBLE, 
	lock_token VARCHAR(32), 
	lock_owner VARCHAR(200), 
	lock_expires_at DOUBLE, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_search_id FOREIGN KEY(search_id) REFERENCES searches (id) ON DELETE CASCADE
);
INSERT INTO "jobs" VALUES('099069172bf14d3c8348ebd7ffceeef1','614c666701944d13b8890a0e470922bd','search','{}','complete','',1,0,1.79529709158298373221e+09,1.79529709173100137709e+09,1.79529709223801946637e+09,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('09c5fb9922ad431b850e1a6f4ce20203','88e527df7fdb4c09b640691c0fda3a8a','search','{}','queued','',0,0,1.79529709227901697159e+09,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE searches (
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	config JSON NOT NULL, 
	max_trials INTEGER, 
	num_trials INTEGER NOT NULL, 
	num_events INTEGER NOT NULL, 
	hypervolume DOUBLE, 
	front JSON, 
	environment JSON, 
	created_at DOUBLE NOT NULL, 
	idempotency_key VARCHAR(255), 
	request_sha256 VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_searches PRIMARY KEY (id), 
	CONSTRAINT uq_searches_owner_idempotency_key UNIQUE (owner, idempotency_key)
);
INSERT INTO "searches" VALUES('614c666701944d13b8890a0e470922bd','ada','search','{"name": "search", "model": {"name": "tiny", "dtype": "auto", "revision": null, "device": "auto", "trust_remote_code": false}, "space": {"type": "joint"}, "importance": {"type": "activation", "text": null, "examples": null, "labels": true, "max_sequences": 64, "sequence_tokens": 128, "batch_size": 8}, "objectives": [{"name": "parameters", "options": {}}, {"name": "perplexity", "options": {}}], "also_measure": [], "budget": {}, "strategy": {"type": "random", "seeds": []}, "trials": 6, "time": null, "recovery": {"type": "none"}, "executor": {"type": "local"}, "seed": 0}',6,6,14,3.55757311659624846653e+06,'{"schema_version": 1, "search": {"id": "614c666701944d13b8890a0e470922bd", "name": "search", "model": "tiny", "seed": 0, "num_trials": 6, "measurement_of_evaluator": {"parameters": "parameters", "perplexity": "perplexity"}}, "objectives": [{"name": "parameters", "unit": "parameters", "direction": "minimize"}, {"name": "perplexity", "unit": "perplexity", "direction": "minimize"}], "constraints": [], "reference_point": {"parameters": 26960.0, "perplexity": 277.7404160600882}, "hypervolume": 3557573.1165962485, "supernet": {"measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}}, "trials": [{"number": 1, "sub_network": {"key": "39c8ec305472da69", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}]}, "candidate": [0, 0, 0, 0, 0, 0, 0, 0], "source": "smallest", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.001085369000065839}, {"number": 2, "sub_network": {"key": "1796b275e959c54c", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 2, "neurons": "c00000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 2, "neurons": "c00000"}]}, "candidate": [0, 1, 0, 0, 0, 0, 0, 1], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0012820119991374668}, {"number": 5, "sub_network": {"key": "36256c9b29581619", "layers": [{"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 8, "neurons": "ff0000"}, {"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 6, "neurons": "fc0000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}]}, "candidate": [1, 4, 1, 3, 2, 2, 2, 2], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0014360620007209945}, {"number": 3, "sub_network": {"key": "9bc5dbae0ca8e940", "layers": [{"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 24, "neurons": "ffffff"}]}, "candidate": [2, 11, 4, 11, 3, 11, 3, 12], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0015901820006547496}, {"number": 4, "sub_network": {"key": "10ea3ac7807143c4", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 20, "neurons": "fffff0"}]}, "candidate": [3, 11, 4, 10, 4, 10, 3, 10], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0011768650001613423}, {"number": 0, "sub_network": {"key": "5ac6a5945f165009", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}]}, "candidate": [3, 12, 4, 12, 4, 12, 4, 12], "source": "supernet", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0005841320016770624}]}','{"search_id": "614c666701944d13b8890a0e470922bd", "device": {}, "supernet": {"num_layers": 4, "num_heads": 8, "num_kv_groups": 4, "num_neurons": 24, "head_dim": 4, "hidden_size": 32, "required_attention": [0]}}',1.79529709158201813698e+09,NULL,'09f6e716494e4ea5cbae13dfea2974821f807ecb3a6d87b771694330e21e17aa');
INSERT INTO "searches" VALUES('88e527df7fdb4c09b640691c0fda3a8a','eve','search','{"name": "search", "model": {"name": "tiny", "dtype": "auto", "revision": null, "device": "auto", "trust_remote_code": false}, "space": {"type": "joint"}, "importance": {"type": "activation", "text": null, "examples": null, "labels": true, "max_sequences": 64, "sequence_tokens": 128, "batch_size": 8}, "objectives": [{"name": "parameters", "options": {}}, {"name": "perplexity", "options": {}}], "also_measure": [], "budget": {}, "strategy": {"type": "random", "seeds": []}, "trials": 6, "time": null, "recovery": {"type": "none"}, "executor": {"type": "local"}, "seed": 0}',6,0,1,NULL,NULL,NULL,1.79529709227901697159e+09,NULL,'09f6e716494e4ea5cbae13dfea2974821f807ecb3a6d87b771694330e21e17aa');
CREATE TABLE tokens (
	id VARCHAR(16) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	scopes JSON NOT NULL, 
	secret_sha256 VARCHAR(64) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE, 
	revoked_at DOUBLE, 
	last_used_at DOUBLE, 
	CONSTRAINT pk_tokens PRIMARY KEY (id)
);
INSERT INTO "tokens" VALUES('f7f1bab5f316b9a1','ada','["submit"]','369c8c5fad60b2a3eba02810a3d616a3f7e91868de56fa1467905e028e973d8d',1.79529709230701923364e+09,NULL,NULL,NULL);
CREATE TABLE trials (
	search_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	sub_network_key VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	fidelity DOUBLE NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	reason TEXT NOT NULL, 
	candidate JSON, 
	sub_network JSON NOT NULL, 
	measurements JSON NOT NULL, 
	CONSTRAINT pk_trials PRIMARY KEY (search_id, number), 
	CONSTRAINT fk_trials_search_id FOREIGN KEY(search_id) REFERENCES searches (id) ON DELETE CASCADE, 
	CONSTRAINT uq_trials_search_id_sub_network_key UNIQUE (search_id, sub_network_key)
);
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',0,'5ac6a5945f165009','complete','supernet',1.0,5.84132001677062362432e-04,'','[3, 12, 4, 12, 4, 12, 4, 12]','{"key": "5ac6a5945f165009", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}]}','{"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',1,'39c8ec305472da69','complete','smallest',1.0,1.08536900006583891808e-03,'','[0, 0, 0, 0, 0, 0, 0, 0]','{"key": "39c8ec305472da69", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}]}','{"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',2,'1796b275e959c54c','complete','random',1.0,1.28201199913746677339e-03,'','[0, 1, 0, 0, 0, 0, 0, 1]','{"key": "1796b275e959c54c", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 2, "neurons": "c00000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 2, "neurons": "c00000"}]}','{"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',3,'9bc5dbae0ca8e940','complete','random',1.0,1.59018200065474957227e-03,'','[2, 11, 4, 11, 3, 11, 3, 12]','{"key": "9bc5dbae0ca8e940", "layers": [{"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 24, "neurons": "ffffff"}]}','{"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',4,'10ea3ac7807143c4','complete','random',1.0,1.17686500016134232282e-03,'','[3, 11, 4, 10, 4, 10, 3, 10]','{"key": "10ea3ac7807143c4", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 20, "neurons": "fffff0"}]}','{"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO "trials" VALUES('614c666701944d13b8890a0e470922bd',5,'36256c9b29581619','complete','random',1.0,1.436062000720994547e-03,'','[1, 4, 1, 3, 2, 2, 2, 2]','{"key": "36256c9b29581619", "layers": [{"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 8, "neurons": "ff0000"}, {"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 6, "neurons": "fc0000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}]}','{"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}');
CREATE INDEX ix_searches_owner_created_at ON searches (owner, created_at);
CREATE INDEX ix_searches_created_at ON searches (created_at);
CREATE INDEX ix_jobs_state_created_at ON jobs (state, created_at);
CREATE INDEX ix_jobs_search_id_kind ON jobs (search_id, kind);
COMMIT;
