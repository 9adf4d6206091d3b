"""The API against its own description: no failure of the server, and no answer that the description does not have."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from nas.artifacts import ArtifactStore
from nas.service.api import Policy, create_app
from nas.service.database import Database
from nas.service.schema import upgrade
from nas.service.tokens import Tokens
from tests.nas.service.searching import finished

MEANING = [positive_data_acceptance]
"""A config can have the right form and make no sense, such as a budget on what nobody measures."""


@pytest.mark.slow
def test_every_answer_is_as_described(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    upgrade(database)
    finished(database)
    token = Tokens(database).create("ada", ["admin"], None)
    app = create_app(database, Policy(requests_per_s=1e6, burst=10**6), ArtifactStore(str(tmp_path)))
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def answers_as_described(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=MEANING, headers={"Authorization": f"Bearer {token}"})

        answers_as_described()
