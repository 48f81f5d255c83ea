"""Every golden document is valid OpenAPI 3.1, by a validator of its own."""

import json
import pathlib

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

GOLDENS = sorted((pathlib.Path(__file__).parent.parent / "openapi").glob("*.json"))


def test_there_are_goldens():
    assert GOLDENS


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.stem)
def test_golden_is_valid(golden):
    document = json.loads(golden.read_text(encoding="utf-8"))
    assert document["openapi"].startswith("3.1.")
    faults = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}"
              for fault in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not faults, "\n".join(faults)
