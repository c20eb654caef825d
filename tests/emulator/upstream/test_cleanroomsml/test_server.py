"""Test different server responses."""

import json

from moto import server


def test_cleanroomsml_list_configured_model_algorithms():
    backend = server.create_backend_app("cleanroomsml")
    test_client = backend.test_client()

    resp = test_client.get("/configured-model-algorithms")

    assert resp.status_code == 200
    assert json.loads(resp.data) == {"configuredModelAlgorithms": []}


def test_cleanroomsml_create_configured_model_algorithm_with_invalid_body():
    backend = server.create_backend_app("cleanroomsml")
    test_client = backend.test_client()

    for body in (b"", b"[]", b"{", b"\xff"):
        resp = test_client.post("/configured-model-algorithms", data=body)

        assert resp.status_code == 400
        assert resp.headers["x-amzn-errortype"] == "ValidationException"


def test_cleanroomsml_create_configured_model_algorithm_with_wrong_types():
    backend = server.create_backend_app("cleanroomsml")
    test_client = backend.test_client()

    resp = test_client.post(
        "/configured-model-algorithms",
        data=json.dumps({"name": [], "roleArn": "", "trainingContainerConfig": []}),
    )

    assert resp.status_code == 400
    message = json.loads(resp.data)["message"]
    assert "at 'name' failed to satisfy constraint: Member must be of type" in message
    assert "at 'trainingContainerConfig' failed to satisfy constraint" in message
