SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.begun_trials (
    search_id character varying(32) NOT NULL,
    sub_network_key character varying(16) NOT NULL,
    num_begun integer NOT NULL
);
CREATE TABLE public.events (
    search_id character varying(32) NOT NULL,
    number integer NOT NULL,
    kind character varying(16) NOT NULL,
    data json NOT NULL,
    created_at double precision NOT NULL
);
CREATE TABLE public.jobs (
    id character varying(32) NOT NULL,
    search_id character varying(32) NOT NULL,
    kind character varying(16) NOT NULL,
    payload json NOT NULL,
    state character varying(16) NOT NULL,
    reason text NOT NULL,
    num_claims integer NOT NULL,
    cancel_requested boolean NOT NULL,
    created_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    lock_token character varying(32),
    lock_owner character varying(200),
    lock_expires_at double precision
);
CREATE TABLE public.searches (
    id character varying(32) NOT NULL,
    owner character varying(64) NOT NULL,
    name character varying(200) NOT NULL,
    config json NOT NULL,
    max_trials integer,
    num_trials integer NOT NULL,
    num_events integer NOT NULL,
    hypervolume double precision,
    front json,
    environment json,
    created_at double precision NOT NULL,
    idempotency_key character varying(255),
    request_sha256 character varying(64) NOT NULL
);
CREATE TABLE public.tokens (
    id character varying(16) NOT NULL,
    owner character varying(64) NOT NULL,
    scopes json NOT NULL,
    secret_sha256 character varying(64) NOT NULL,
    created_at double precision NOT NULL,
    expires_at double precision,
    revoked_at double precision,
    last_used_at double precision
);
CREATE TABLE public.trials (
    search_id character varying(32) NOT NULL,
    number integer NOT NULL,
    sub_network_key character varying(16) NOT NULL,
    state character varying(16) NOT NULL,
    source character varying(64) NOT NULL,
    fidelity double precision NOT NULL,
    duration_s double precision NOT NULL,
    reason text NOT NULL,
    candidate json,
    sub_network json NOT NULL,
    measurements json NOT NULL
);
INSERT INTO public.alembic_version VALUES ('nas_0001');
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 1, 'state', '{"job": "search", "state": "queued"}', 1795297097.570326);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 2, 'state', '{"job": "search", "state": "running", "worker": "a test"}', 1795297097.607456);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 3, 'trial', '{"number": 0, "source": "supernet", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297097.806232);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 4, 'trial', '{"number": 1, "source": "smallest", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297097.877768);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 5, 'front', '{"hypervolume": 950431.9893664153, "trials": [1, 0]}', 1795297097.913431);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 6, 'trial', '{"number": 2, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297097.992258);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 7, 'front', '{"hypervolume": 1491295.0559045062, "trials": [1, 2, 0]}', 1795297098.017264);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 8, 'trial', '{"number": 3, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297098.084135);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 9, 'front', '{"hypervolume": 2022055.3949746322, "trials": [1, 2, 3, 0]}', 1795297098.110083);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 10, 'trial', '{"number": 4, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297098.160878);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 11, 'front', '{"hypervolume": 2025298.259750856, "trials": [1, 2, 3, 4, 0]}', 1795297098.186639);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 12, 'trial', '{"number": 5, "source": "random", "state": "complete", "reason": "", "measurements": {"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}}', 1795297098.280745);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 13, 'front', '{"hypervolume": 3557573.1165962485, "trials": [1, 2, 5, 3, 4, 0]}', 1795297098.332968);
INSERT INTO public.events VALUES ('05e7f3768b624490958080545ddd983b', 14, 'state', '{"job": "search", "state": "complete", "reason": ""}', 1795297098.37101);
INSERT INTO public.events VALUES ('9891f80a6937443b872045b169f5aaab', 1, 'state', '{"job": "search", "state": "queued"}', 1795297098.423185);
INSERT INTO public.jobs VALUES ('e98d4d64d0ba4339a760fe4cfb5217e6', '05e7f3768b624490958080545ddd983b', 'search', '{}', 'complete', '', 1, false, 1795297095.925817, 1795297097.599288, 1795297098.361474, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES ('2f0dc8da473c46d58f85a334e9f40f9c', '9891f80a6937443b872045b169f5aaab', 'search', '{}', 'queued', '', 0, false, 1795297098.412494, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.searches VALUES ('05e7f3768b624490958080545ddd983b', 'ada', 'search', '{"name": "search", "model": {"name": "tiny", "dtype": "auto", "revision": null, "device": "auto", "trust_remote_code": false}, "space": {"type": "joint"}, "importance": {"type": "activation", "text": null, "examples": null, "labels": true, "max_sequences": 64, "sequence_tokens": 128, "batch_size": 8}, "objectives": [{"name": "parameters", "options": {}}, {"name": "perplexity", "options": {}}], "also_measure": [], "budget": {}, "strategy": {"type": "random", "seeds": []}, "trials": 6, "time": null, "recovery": {"type": "none"}, "executor": {"type": "local"}, "seed": 0}', 6, 6, 14, 3557573.1165962485, '{"schema_version": 1, "search": {"id": "05e7f3768b624490958080545ddd983b", "name": "search", "model": "tiny", "seed": 0, "num_trials": 6, "measurement_of_evaluator": {"parameters": "parameters", "perplexity": "perplexity"}}, "objectives": [{"name": "parameters", "unit": "parameters", "direction": "minimize"}, {"name": "perplexity", "unit": "perplexity", "direction": "minimize"}], "constraints": [], "reference_point": {"parameters": 26960.0, "perplexity": 277.7404160600882}, "hypervolume": 3557573.1165962485, "supernet": {"measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}}, "trials": [{"number": 1, "sub_network": {"key": "39c8ec305472da69", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}]}, "candidate": [0, 0, 0, 0, 0, 0, 0, 0], "source": "smallest", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.007923047000076622}, {"number": 2, "sub_network": {"key": "1796b275e959c54c", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 2, "neurons": "c00000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 2, "neurons": "c00000"}]}, "candidate": [0, 1, 0, 0, 0, 0, 0, 1], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.012324521001573885}, {"number": 5, "sub_network": {"key": "36256c9b29581619", "layers": [{"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 8, "neurons": "ff0000"}, {"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 6, "neurons": "fc0000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}]}, "candidate": [1, 4, 1, 3, 2, 2, 2, 2], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.007018758002232062}, {"number": 3, "sub_network": {"key": "9bc5dbae0ca8e940", "layers": [{"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 24, "neurons": "ffffff"}]}, "candidate": [2, 11, 4, 11, 3, 11, 3, 12], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.001730109997879481}, {"number": 4, "sub_network": {"key": "10ea3ac7807143c4", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 20, "neurons": "fffff0"}]}, "candidate": [3, 11, 4, 10, 4, 10, 3, 10], "source": "random", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.00809005600240198}, {"number": 0, "sub_network": {"key": "5ac6a5945f165009", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}]}, "candidate": [3, 12, 4, 12, 4, 12, 4, 12], "source": "supernet", "state": "complete", "fidelity": 1.0, "measurements": {"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}, "reason": "", "duration_s": 0.0008233780026785098}]}', '{"search_id": "05e7f3768b624490958080545ddd983b", "device": {}, "supernet": {"num_layers": 4, "num_heads": 8, "num_kv_groups": 4, "num_neurons": 24, "head_dim": 4, "hidden_size": 32, "required_attention": [0]}}', 1795297095.919255, NULL, '09f6e716494e4ea5cbae13dfea2974821f807ecb3a6d87b771694330e21e17aa');
INSERT INTO public.searches VALUES ('9891f80a6937443b872045b169f5aaab', 'eve', 'search', '{"name": "search", "model": {"name": "tiny", "dtype": "auto", "revision": null, "device": "auto", "trust_remote_code": false}, "space": {"type": "joint"}, "importance": {"type": "activation", "text": null, "examples": null, "labels": true, "max_sequences": 64, "sequence_tokens": 128, "batch_size": 8}, "objectives": [{"name": "parameters", "options": {}}, {"name": "perplexity", "options": {}}], "also_measure": [], "budget": {}, "strategy": {"type": "random", "seeds": []}, "trials": 6, "time": null, "recovery": {"type": "none"}, "executor": {"type": "local"}, "seed": 0}', 6, 0, 1, NULL, NULL, NULL, 1795297098.411602, NULL, '09f6e716494e4ea5cbae13dfea2974821f807ecb3a6d87b771694330e21e17aa');
INSERT INTO public.tokens VALUES ('2a8e98e12d0198f3', 'ada', '["submit"]', '5ffb6b46e1a719de51077e0dc7b5999c1af0add997bd4849762d970a7aa1cf00', 1795297098.436489, NULL, NULL, NULL);
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 0, '5ac6a5945f165009', 'complete', 'supernet', 1, 0.0008233780026785098, '', '[3, 12, 4, 12, 4, 12, 4, 12]', '{"key": "5ac6a5945f165009", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 24, "neurons": "ffffff"}]}', '{"parameters": {"value": 24864.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 40.21879021879022, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 1, '39c8ec305472da69', 'complete', 'smallest', 1, 0.007923047000076622, '', '[0, 0, 0, 0, 0, 0, 0, 0]', '{"key": "39c8ec305472da69", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}]}', '{"parameters": {"value": 3904.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 256.1475409836066, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 2, '1796b275e959c54c', 'complete', 'random', 1, 0.012324521001573885, '', '[0, 1, 0, 0, 0, 0, 0, 1]', '{"key": "1796b275e959c54c", "layers": [{"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 2, "neurons": "c00000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 0, "neurons": "000000"}, {"heads": [], "num_key_value_heads": 0, "num_neurons": 2, "neurons": "c00000"}]}', '{"parameters": {"value": 4352.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 229.77941176470588, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 3, '9bc5dbae0ca8e940', 'complete', 'random', 1, 0.001730109997879481, '', '[2, 11, 4, 11, 3, 11, 3, 12]', '{"key": "9bc5dbae0ca8e940", "layers": [{"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 24, "neurons": "ffffff"}]}', '{"parameters": {"value": 21984.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 45.48762736535662, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 4, '10ea3ac7807143c4', 'complete', 'random', 1, 0.00809005600240198, '', '[3, 11, 4, 10, 4, 10, 3, 10]', '{"key": "10ea3ac7807143c4", "layers": [{"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 22, "neurons": "fffffc"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5, 6, 7], "num_key_value_heads": 4, "num_neurons": 20, "neurons": "fffff0"}, {"heads": [0, 1, 2, 3, 4, 5], "num_key_value_heads": 3, "num_neurons": 20, "neurons": "fffff0"}]}', '{"parameters": {"value": 22752.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 43.9521800281294, "unit": "perplexity", "n": 1, "ci95": null}}');
INSERT INTO public.trials VALUES ('05e7f3768b624490958080545ddd983b', 5, '36256c9b29581619', 'complete', 'random', 1, 0.007018758002232062, '', '[1, 4, 1, 3, 2, 2, 2, 2]', '{"key": "36256c9b29581619", "layers": [{"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 8, "neurons": "ff0000"}, {"heads": [0, 1], "num_key_value_heads": 1, "num_neurons": 6, "neurons": "fc0000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}, {"heads": [0, 1, 2, 3], "num_key_value_heads": 2, "num_neurons": 4, "neurons": "f00000"}]}', '{"parameters": {"value": 10848.0, "unit": "parameters", "n": 1, "ci95": null}, "perplexity": {"value": 92.18289085545723, "unit": "perplexity", "n": 1, "ci95": null}}');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.begun_trials
    ADD CONSTRAINT pk_begun_trials PRIMARY KEY (search_id, sub_network_key);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (search_id, number);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);
ALTER TABLE ONLY public.searches
    ADD CONSTRAINT pk_searches PRIMARY KEY (id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT pk_tokens PRIMARY KEY (id);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT pk_trials PRIMARY KEY (search_id, number);
ALTER TABLE ONLY public.searches
    ADD CONSTRAINT uq_searches_owner_idempotency_key UNIQUE (owner, idempotency_key);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT uq_trials_search_id_sub_network_key UNIQUE (search_id, sub_network_key);
CREATE INDEX ix_jobs_search_id_kind ON public.jobs USING btree (search_id, kind);
CREATE INDEX ix_jobs_state_created_at ON public.jobs USING btree (state, created_at);
CREATE INDEX ix_searches_created_at ON public.searches USING btree (created_at);
CREATE INDEX ix_searches_owner_created_at ON public.searches USING btree (owner, created_at);
ALTER TABLE ONLY public.begun_trials
    ADD CONSTRAINT fk_begun_trials_search_id FOREIGN KEY (search_id) REFERENCES public.searches(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.events
    ADD CONSTRAINT fk_events_search_id FOREIGN KEY (search_id) REFERENCES public.searches(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_search_id FOREIGN KEY (search_id) REFERENCES public.searches(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT fk_trials_search_id FOREIGN KEY (search_id) REFERENCES public.searches(id) ON DELETE CASCADE;
