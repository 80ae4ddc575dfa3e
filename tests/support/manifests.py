"""Manifests of the pods that the tests of the whole way declare."""

from __future__ import annotations

import json

COUNT = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done"


def pod(name: str, command: str = "sleep 3600", restart: str = "Always", **annotations: str) -> str:
    """One container of the registry's image, small, quick to stop; ends with a document separator.

    Annotations are ours, with "_" for "-".
    """
    said = {f"chinampa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {json.dumps(said)}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: registry.demo/web:1
    command: [sh, -c, "{command}"]
    resources: {{requests: {{cpu: 50m, memory: 16Mi}}}}
---
"""
