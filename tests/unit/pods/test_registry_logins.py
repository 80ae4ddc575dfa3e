"""Which of a pod's pull secrets are for a registry, as a kubelet reads their hosts and paths."""

from __future__ import annotations

import base64
import json

import pytest

from controller.pods.volume_contents import docker_logins


def users(places: dict[str, str], host: str, repository: str) -> list[str]:
    """The users that are shown to a registry, the best first; each secret's place has a user of its own."""
    auths = {place: {"username": user, "password": "p"} for place, user in places.items()}
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    return [user for user, _ in docker_logins([{"data": {".dockerconfigjson": data}}], host, repository)]


@pytest.mark.parametrize(
    ("place", "host", "fits"),
    [
        ("r.example.com", "r.example.com", True),
        ("https://r.example.com/v1/", "r.example.com", True),
        ("*.example.com", "r.example.com", True),
        ("*.example.com", "a.r.example.com", False),
        ("*.*.example.com", "a.r.example.com", True),
        ("k8s.*.io", "k8s.gcr.io", True),
        ("app*.k8s.io", "app-1.k8s.io", True),
        ("app*.k8s.io", "web.k8s.io", False),
        ("*.example.com", "r.example.com:5000", False),
        ("*.example.com:5000", "r.example.com:5000", True),
        ("*.example.com:5000", "r.example.com", False),
        ("[::1]:5000", "[::1]:5000", True),
        ("https://index.docker.io/v1/", "docker.io", True),
    ],
)
def test_a_secret_is_for_the_hosts_that_its_place_stands_for(place: str, host: str, *, fits: bool) -> None:
    assert users({place: "me"}, host, "team/app") == (["me"] if fits else [])


def test_the_secret_of_the_longest_path_goes_first_and_one_of_another_path_not_at_all() -> None:
    places = {
        "r.example.com": "all",
        "r.example.com/team/app": "app",
        "r.example.com/team": "team",
        "r.example.com/x": "x",
    }
    assert users(places, "r.example.com", "team/app") == ["app", "team", "all"]
    assert users(places, "r.example.com", "teams/app") == ["all"]
