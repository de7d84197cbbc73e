import json
from urllib.request import urlopen


def test_a_note_is_kept(client):
    assert client.post("/notes", json={"text": "buy milk"}).status_code == 201
    assert client.get("/notes").json == [{"id": 1, "text": "buy milk"}]


def test_notes_are_counted(client):
    for text in ("one", "two"):
        client.post("/notes", json={"text": text})
    assert client.get("/stats").json == {"written": 2}


def test_the_server_sees_the_same_notes(client):
    client.post("/notes", json={"text": "seen by both"})
    with urlopen("http://localhost:8731/notes", timeout=10) as answer:
        assert json.load(answer)[0]["text"] == "seen by both"
