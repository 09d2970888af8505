"""Mistakes that show only where several places of a table are looked at together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from throttle.limits.matching import Names, Pattern
from throttle.limits.meters import MeterKind
from throttle.limits.places import Path
from throttle.limits.schema import Account, Family, LimitsTable, Row, Server
from throttle.limits.words import listed, unknown

__all__ = ["Finding", "check_table"]

_ROW_KEYS = ("batch_queue_tokens", "seen", "source", "as_of", "verified", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake and the path of keys to it.

    `at_key`: the key itself is what is wrong, not its value. `lack`: something is missing below `path`, which may be
        so only
    because what is there is wrong for another reason.
    """

    path: Path
    what: str
    remedy: str = ""
    at_key: bool = False
    lack: bool = False


@dataclass(frozen=True, slots=True)
class _Section:
    """The families and tiers of the table itself, or of one of its servers."""

    path: Path
    families: Mapping[str, Family]
    tiers: Mapping[str, Mapping[str, Row | None]]


def check_table(table: LimitsTable, *, partial: bool = False) -> list[Finding]:
    """Find every mistake between the parts of a table; see `validated` for `partial`."""
    kinds = table.kinds()
    sections = [_Section((), table.families, table.tiers)]
    sections += [_Section(("servers", name), server.families, server.tiers) for name, server in table.servers.items()]
    findings: list[Finding] = []
    for section in sections:
        known = {**table.families, **section.families} if section.path else section.families
        findings += _families(section, known, kinds)
        findings += _tiers(section, known, kinds, partial=partial)
        findings += _models(section)
        findings += _pools(section)
    findings += _meters(table, kinds)
    findings += _rules(table)
    findings += _servers(table, kinds)
    findings += _accounts(table, kinds)
    if not partial and not table.families and not table.servers:
        findings.append(
            Finding((), "there are no limits in it", "add `families:` and `tiers:`, or `extends: bundled`", lack=True)
        )
    return findings


def _families(section: _Section, known: Mapping[str, Family], kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    meant = _referred(section.families)
    for name, family in section.families.items():
        path = (*section.path, "families", name)
        if name == "*":
            yield Finding(path, "`*` is no name of a family", "give it a name, with `*` among its models", at_key=True)
        if not family.models and name not in meant:
            remedy = "list its models, or name it in another family's `long_context` or `service_tiers`"
            yield Finding(
                path, f"no call draws on the family {name!r}: it has no models", remedy, at_key=True, lack=True
            )
        for tier in family.tiers or ():
            if tier not in section.tiers:
                index = (family.tiers or ()).index(tier)
                yield Finding((*path, "tiers", index), *unknown("tier", tier, section.tiers))
        yield from _targets(path, name, family, known)
        yield from _weights(path, family)
        yield from _windows((*path, "window"), family.window, kinds)


def _referred(families: Mapping[str, Family]) -> set[str]:
    longs = {family.long_context.family for family in families.values() if family.long_context}
    return longs | {target for family in families.values() for target in family.service_tiers.values()}


def _targets(path: Path, name: str, family: Family, known: Mapping[str, Family]) -> Iterator[Finding]:
    targets: list[tuple[Path, str]] = []
    if family.long_context:
        targets.append(((*path, "long_context", "family"), family.long_context.family))
    targets += [((*path, "service_tiers", tier), target) for tier, target in family.service_tiers.items()]
    for place, target in targets:
        if target == name:
            yield Finding(place, f"the family {name!r} stands in for itself", "name the family with the other limits")
        elif target not in known:
            yield Finding(place, *unknown("family", target, known))


def _weights(path: Path, family: Family) -> Iterator[Finding]:
    patterns = [Pattern(model) for model in family.models]
    for model in family.weights:
        if not any(pattern.meets(Pattern(model)) for pattern in patterns):
            what = f"a weight for {model!r}, which is none of the family's models"
            yield Finding((*path, "weights", model), what, f"they are {listed(family.models)}", at_key=True)


def _windows(path: Path, window: object, kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    for meter in window if isinstance(window, Mapping) else ():
        if meter not in kinds:
            yield Finding((*path, meter), *unknown("meter", meter, kinds), at_key=True)


def _tiers(
    section: _Section, known: Mapping[str, Family], kinds: Mapping[str, MeterKind], *, partial: bool
) -> Iterator[Finding]:
    if section.families and not section.tiers and not partial:
        path = (*section.path, "families")
        remedy = "add `tiers:` with the limits of each, as in {tier-1: {my-family: {rpm: 500}}}"
        yield Finding(path, "families, but no tier with their limits", remedy, at_key=True, lack=True)
    for tier, rows in section.tiers.items():
        path = (*section.path, "tiers", tier)
        for name, row in rows.items():
            yield from _row((*path, name), name, row, known, kinds)
        if partial or "*" in rows:
            continue
        lacking = [name for name, family in section.families.items() if name not in rows and _in_tier(family, tier)]
        if lacking:
            some = "the families" if len(lacking) > 1 else "the family"
            remedy = 'add them, write null where none are known, or `"*":` for all others'
            yield Finding(path, f"tier {tier!r} has no limits for {some} {listed(lacking)}", remedy, at_key=True)


def _in_tier(family: Family, tier: str) -> bool:
    return family.tiers is None or tier in family.tiers


def _row(
    path: Path, name: str, row: Row | None, known: Mapping[str, Family], kinds: Mapping[str, MeterKind]
) -> Iterator[Finding]:
    if name != "*" and name not in known:
        yield Finding(path, *unknown("family", name, known), at_key=True)
    if row is None:
        return
    for meter in row.meters:
        if meter not in kinds:
            yield Finding((*path, meter), *unknown("meter", meter, [*kinds, *_ROW_KEYS]), at_key=True)
    for meter in row.seen:
        figure = row.batch_queue_tokens if meter == "batch_queue_tokens" else row.meters.get(meter)
        if figure is None:
            what = f"`seen` has {meter!r}, for which the row has no figure"
            yield Finding((*path, "seen", meter), what, "give the figure to start from beside it", at_key=True)
    if not row.meters and row.batch_queue_tokens is None:
        yield Finding(
            path, f"no limits for {name!r}", "give some, as in {rpm: 500, tpm: 200_000}, or write null", lack=True
        )


def _models(section: _Section) -> Iterator[Finding]:
    """Find names that two families have, and patterns of which one hides the other."""
    entries = [
        (Pattern(model), name, (*section.path, "families", name, "models", index))
        for name, family in section.families.items()
        for index, model in enumerate(family.models)
    ]
    seen: dict[str, list[tuple[str, Path]]] = {}
    for pattern, name, path in entries:
        for other, _ in seen.get(pattern.text, ()):
            if other == name:
                yield Finding(path, f"{pattern.text!r} stands twice in the family {name!r}", "take one of the two out")
            elif _together(section.families[name], section.families[other]):
                kind = "pattern" if not pattern.plain else "model"
                remedy = f"a model draws on one family: take it out of {name!r} or of {other!r}"
                yield Finding(path, f"the {kind} {pattern.text!r} is in the family {other!r} already", remedy)
            else:
                continue
            break
        seen.setdefault(pattern.text, []).append((name, path))
    yield from _hidden([entry for entry in entries if not entry[0].plain and entry[0].text != "*"], section.families)


def _hidden(entries: list[tuple[Pattern, str, Path]], families: Mapping[str, Family]) -> Iterator[Finding]:
    for index, (pattern, name, path) in enumerate(entries):
        for other, other_name, other_path in entries[:index]:
            if pattern.text == other.text:
                continue
            if name == other_name:
                narrow, wide, at = (pattern, other, path) if other.covers(pattern) else (other, pattern, other_path)
                if wide.covers(narrow):
                    what = f"the pattern {narrow.text!r} is covered by {wide.text!r} of the same family"
                    yield Finding(at, what, "take it out, or move it to a family of its own")
            elif (
                pattern.rank == other.rank and _together(families[name], families[other_name]) and pattern.meets(other)
            ):
                what = f"the pattern {pattern.text!r} and {other.text!r} of the family {other_name!r} shadow each other"
                yield Finding(
                    path, what, "some names match both: make one of them longer, or name those models in full"
                )


def _together(one: Family, two: Family) -> bool:
    """Tell whether there is a tier, and a host, in which both families hold."""
    if one.hosts is not None and two.hosts is not None and not set(one.hosts) & set(two.hosts):
        return False
    return one.tiers is None or two.tiers is None or bool(set(one.tiers) & set(two.tiers))


def _pools(section: _Section) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, family in section.families.items():
        pool = family.pool or name
        other = seen.setdefault(pool, name)
        if other != name and _together(family, section.families[other]):
            what = f"the families {other!r} and {name!r} both have the pool {pool!r}"
            path = (*section.path, "families", name, *(["pool"] if family.pool else []))
            yield Finding(path, what, "models that share a limit belong in one family", at_key=not family.pool)


def _meters(table: LimitsTable, kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    units = {kind.unit for kind in kinds.values()} | {"requests", "tokens", "images", "input_tokens", "output_tokens"}
    for name, meter in table.meters.items():
        path = ("meters", name)
        if name in _ROW_KEYS or name == "*":
            yield Finding(path, f"{name!r} is no name for a meter", "a row has a key of that name already", at_key=True)
        for unit in meter.counts or ():
            if unit not in units:
                yield Finding((*path, "counts", unit), *unknown("unit", unit, sorted(units)), at_key=True)


def _rules(table: LimitsTable) -> Iterator[Finding]:
    for tier, rule in table.tier_rules.items():
        if tier not in table.tiers:
            yield Finding(("tier_rules", tier), *unknown("tier", tier, table.tiers), at_key=True)
        if rule.becomes is not None and rule.becomes not in table.tiers:
            yield Finding(("tier_rules", tier, "becomes"), *unknown("tier", rule.becomes, table.tiers))


def _servers(table: LimitsTable, kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    named = {account.server for account in table.accounts.values()}
    for name, server in table.servers.items():
        path = ("servers", name)
        if server.base_url is None and name not in named:
            remedy = "add `base_url:`, or `base_url: []` where only accounts name it"
            yield Finding(path, f"nothing leads to the server {name!r}", remedy, at_key=True)
        tiers = server.tiers or (table.tiers if server.inherit else {})
        if server.tier is not None and server.tier not in tiers:
            yield Finding((*path, "tier"), *unknown("tier", server.tier, tiers))
        for header, meter in server.headers.items():
            if meter not in kinds:
                yield Finding((*path, "headers", header), *unknown("meter", meter, kinds))
        yield from _windows((*path, "window"), server.window, kinds)
        yield from _deployments(path, server, table, kinds)


def _deployments(path: Path, server: Server, table: LimitsTable, kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    families = {**(table.families if server.inherit else {}), **server.families}
    models = Names((model, name) for name, family in families.items() for model in family.models)
    plain = [model for family in families.values() for model in family.models if Pattern(model).plain]
    for name, deployment in server.deployments.items():
        place = (*path, "deployments", name)
        if deployment.limits is None and models.find(deployment.model) is None:
            yield Finding((*place, "model"), *unknown("model", deployment.model, plain))
        if deployment.limits is not None:
            yield from _row((*place, "limits"), "*", deployment.limits, families, kinds)


def _accounts(table: LimitsTable, kinds: Mapping[str, MeterKind]) -> Iterator[Finding]:
    hashes: dict[str, str] = {}
    for name, account in table.accounts.items():
        path = ("accounts", name)
        server = table.servers.get(account.server or "")
        if account.server is not None and server is None:
            yield Finding((*path, "server"), *unknown("server", account.server, table.servers))
        tiers = _tiers_of(table, server)
        if account.tier is not None and account.tier not in tiers and (account.server is None or server):
            what, remedy = unknown("tier", account.tier, tiers)
            yield Finding((*path, "tier"), what, remedy)
        for other, whose in hashes.items():
            if account.key_hash and (other.startswith(account.key_hash) or account.key_hash.startswith(other)):
                what = f"the accounts {whose!r} and {name!r} have the same key hash"
                yield Finding((*path, "key_hash"), what, "one key is one account: put what differs under `projects:`")
        if account.key_hash:
            hashes[account.key_hash] = name
        yield from _overrides(path, account, table, server, kinds)


def _tiers_of(table: LimitsTable, server: Server | None) -> Iterable[str]:
    if server is None:
        return table.tiers
    return server.tiers or (table.tiers if server.inherit else ())


def _overrides(
    path: Path, account: Account, table: LimitsTable, server: Server | None, kinds: Mapping[str, MeterKind]
) -> Iterator[Finding]:
    known = {**(table.families if server is None or server.inherit else {}), **(server.families if server else {})}
    for name, row in account.limits.items():
        yield from _row((*path, "limits", name), name, row, known, kinds)
    for project, own in account.projects.items():
        for name, row in own.limits.items():
            yield from _row((*path, "projects", project, "limits", name), name, row, known, kinds)
