"""The fields of KEDA's objects that our manifests use, from KEDA's reference.

KEDA's own schemas are in no package that pip installs; a field that is not in its
reference (ScaledObject, TriggerAuthentication, the Redis lists scaler) is refused here.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = {"type": "string", "minLength": 1}
_DIGITS: Final = {"type": "string", "pattern": r"^\d+$"}
_NUMBER: Final = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
_COUNT: Final = {"type": "integer", "minimum": 0}


def _fields(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": [*required],
        "additionalProperties": False,
    }


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _fields(
        {
            "apiVersion": {"const": "keda.sh/v1alpha1"},
            "kind": {"const": kind},
            "metadata": {"type": "object", "required": ["name", "namespace"]},
            "spec": spec,
        }
    )


_REDIS_LIST: Final = _fields(
    # Metadata of triggers are texts, numbers too.
    {"address": _TEXT, "listName": _TEXT, "listLength": _DIGITS},
    activationListLength=_DIGITS,
    enableTLS={"enum": ["true", "false"]},
    databaseIndex=_DIGITS,
)

_TRIGGER: Final = _fields(
    {"type": {"const": "redis"}, "metadata": _REDIS_LIST},
    name=_TEXT,
    authenticationRef=_fields({"name": _TEXT}),
)

_MODIFIERS: Final = _fields(
    {"formula": _TEXT, "target": _NUMBER},
    activationTarget=_NUMBER,
    metricType={"enum": ["AverageValue", "Value"]},
)

_SCALED_OBJECT: Final = _fields(
    {
        "scaleTargetRef": _fields({"name": _TEXT}, apiVersion=_TEXT, kind=_TEXT),
        "triggers": {"type": "array", "items": _TRIGGER, "minItems": 1},
    },
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    pollingInterval=_COUNT,
    cooldownPeriod=_COUNT,
    advanced=_fields(
        {},
        scalingModifiers=_MODIFIERS,
        horizontalPodAutoscalerConfig=_fields({"behavior": {"type": "object"}}),
    ),
)

_SECRET_KEYS: Final = {
    "type": "array",
    "items": _fields(
        {"parameter": {"enum": ["username", "password"]}, "name": _TEXT, "key": _TEXT}
    ),
}

KEDA_SCHEMAS: Final = {
    "ScaledObject": _object("ScaledObject", _SCALED_OBJECT),
    "TriggerAuthentication": _object(
        "TriggerAuthentication", _fields({"secretTargetRef": _SECRET_KEYS})
    ),
}
"""A JSON schema by kind."""
