"""Check of the servers: each answers, has the model and takes the key."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Host
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError
from bitparity.schema import Study, Variant


def check_servers(study: Study, host: Host) -> tuple[dict[str, Mapping[str, object]], list[Finding]]:
    """The answer of each variant's server, which says what it is and which model it has, and the findings on them."""
    served: dict[str, Mapping[str, object]] = {}
    findings = []
    for name, variant in study.variants.items():
        if not engine_of(variant.engine).served or variant.control:  # a control is the baseline's server again
            continue
        topic = Topic(f"server of {name}")
        try:
            served[name] = host.serves(variant)
            findings.append(_served(topic, variant, served[name]))
        except BitparityError as problem:
            findings.append(topic.error("server_fails", problem=problem))
    return served, findings


def _served(topic: Topic, variant: Variant, about: Mapping[str, object]) -> Finding:
    url = variant.engine.base_url
    if about.get("unlisted"):
        return topic.warning("models_not_listed", url=url, why=about["unlisted"], model=variant.model)
    version = " ".join(str(about[key]) for key in ("software", "version") if about.get(key)) or "of unknown kind"
    length = f", context of {about['max_model_len']:,} tokens" if about.get("max_model_len") else ""
    return topic.ok("serves", url=url, model=variant.model, version=version, length=length)
