"""The job file as JSON Schema, from which editors complete, explain and check a job while it is written."""

from __future__ import annotations

from typing import Any, get_args

from gan_dist.registry.argument_types import value_schema
from gan_dist.registry.lookup import ALIASES, PROVIDED, Kind, signature
from gan_dist.registry.signatures import Param
from gan_dist.spec.amounts import Amount
from gan_dist.spec.fields import OWN_NAME
from gan_dist.spec.job import JobSpec
from gan_dist.spec.sections import NETWORK_KEYS, OURS, TENSORBOARD, OptimizerSpec

DIALECT = "http://json-schema.org/draft-07/schema#"
MODELS: dict[Kind, str] = {
    "objective": "ObjectiveSpec",
    "penalty": "PenaltySpec",
    "metric": "MetricSpec",
    "extractor": "FeaturesSpec",
    "tracker": "TrackerSpec",
}


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of a job file; what `gan-dist schema` prints."""
    schema = JobSpec.model_json_schema()
    models: dict[str, Any] = schema["$defs"]
    features = models["MetricSpec"]["properties"]["features"]
    features["allOf"] = [{"$ref": "#/$defs/extractor"}]
    features.pop("$ref", None)
    slots = {kind: _slot(kind, models[MODELS.get(kind, "ComponentSpec")]) for kind in get_args(Kind)}
    for name in ("ComponentSpec", *MODELS.values()):
        del models[name]
    models.update(slots)
    _place_slots(schema["properties"], models["StageSpec"]["properties"])
    for name, field in JobSpec.model_fields.items():
        schema["properties"][name].setdefault("description", field.description)
    for name in ("ImageData", "PairData", "UnpairedData", "TextData"):
        models[name].pop("required")
    section = _reference("ImageData")
    for modality, name in (("unpaired", "UnpairedData"), ("pair", "PairData"), ("text", "TextData")):
        section = {"if": _of(modality), "then": _reference(name), "else": section}
    about = {"description": JobSpec.model_fields["data"].description, "type": "object"}
    schema["properties"]["data"] = about | section
    return _root(_tidied(schema, models))


def _of(modality: str) -> dict[str, Any]:
    """Data of this modality, which is written."""
    return {"properties": {"modality": {"const": modality}}, "required": ["modality"]}


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    """The whole file: keys that a file it `extends` may give are required only where it extends none."""
    required = schema.pop("required")
    extends = {"type": "string", "description": "A job file to start from, relative to this one."}
    head = {"$schema": DIALECT, "title": "gan-dist job", "description": "One training run of gan-dist."}
    conditional = {"if": {"not": {"required": ["extends"]}}, "then": {"required": required}}
    return {**head, **schema, **conditional, "properties": {"extends": extends, **schema["properties"]}}


def _place_slots(job: dict[str, Any], stage: dict[str, Any]) -> None:
    """Names the kind of component that each key takes, where pydantic only knows that it is one."""
    null = {"type": "null"}
    objective, penalty = _reference("objective"), _reference("penalty")
    objectives = [objective, {"type": "array", "items": objective, "minItems": 1}]
    penalties = {"type": "array", "items": penalty}
    job["generator"]["$ref"] = "#/$defs/generator"
    job["discriminator"]["anyOf"] = [_reference("discriminator"), null]
    job["augment"]["anyOf"] = [_reference("augment"), null]
    job["networks"]["additionalProperties"] = _reference("network")
    job["objective"]["anyOf"] = [*objectives, null]
    job["penalties"] |= penalties
    job["metrics"] |= {"type": "array", "items": _reference("metric")}
    job["trackers"] |= {"type": "array", "items": {"anyOf": [_reference("tracker"), {"const": TENSORBOARD}]}}
    job["optimizer"] |= _without_further_arguments()
    stage["objective"] = {"description": stage["objective"]["description"], "anyOf": objectives}
    stage["penalties"]["anyOf"] = [penalties, null]


def _without_further_arguments() -> dict[str, Any]:
    """Our own optimisers have no arguments but the keys of the section; every further one is a network."""
    shared: dict[str, Any] = dict.fromkeys(OptimizerSpec.model_fields, True)
    of_network = dict.fromkeys(NETWORK_KEYS, True)
    network = {"type": "object", "properties": of_network, "additionalProperties": False}
    ours = {"properties": {"use": {"enum": list(OURS)}}}
    return {"if": ours, "then": {"properties": shared, "additionalProperties": network}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _slot(kind: Kind, model: dict[str, Any]) -> dict[str, Any]:
    """A component's mapping, whose keys follow from its `use`; or the name alone."""
    aliases = sorted(ALIASES[kind])
    use = {
        "description": model["properties"]["use"]["description"],
        "anyOf": [{"enum": aliases}, {"type": "string", "pattern": f"^{OWN_NAME}$"}],
    }
    own = {**model["properties"], "use": use}
    mapping = {
        "type": "object",
        "properties": own,
        "allOf": [_arguments(kind, alias, own) for alias in aliases],
    }
    return {"description": model["description"], "anyOf": [use, mapping]}


def _arguments(kind: Kind, alias: str, own: dict[str, Any]) -> dict[str, Any]:
    takes = [param for param in signature(ALIASES[kind][alias]).params if param.name not in PROVIDED[kind]]
    keys = {**dict.fromkeys(own, True), **{param.name: _argument(param) for param in takes}}
    chosen = {"properties": {"use": {"const": alias}}, "required": ["use"]}
    return {"if": chosen, "then": {"properties": keys, "additionalProperties": False}}


def _argument(param: Param) -> dict[str, Any]:
    default = {} if param.required else {"default": param.default}
    return {"description": param.doc, **default, **value_schema(param.annotation)}


def _tidied(schema: Any, models: dict[str, Any]) -> Any:
    """The schema as editors show it best: no titles that repeat the key, descriptions beside references."""
    if isinstance(schema, list):
        return [_tidied(one, models) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidied(one, models) for key, one in schema.items() if key != "title" or isinstance(one, dict)}
    if isinstance(tidy.get("default"), dict) and tidy["default"].keys() == {"value", "unit"}:
        tidy["default"] = Amount(**tidy["default"]).plain()
    if "$ref" in tidy and len(tidy) > 1:
        # Draft 7 ignores whatever stands beside a reference.
        reference = tidy.pop("$ref")
        meaning = models[reference.rpartition("/")[2]]["description"]
        tidy = {"description": meaning, **tidy, "allOf": [{"$ref": reference}]}
    return tidy
