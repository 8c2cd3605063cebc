"""The reader on ../vectors/*.json; their shape stands in ../vectors/README.md."""

import io
import json
import re
from pathlib import Path

import kluis_reader as k
from harness import pattern, test

VECTORS = Path(__file__).parent.parent / "vectors"
FILES = "kdf passwords slots header ledger names objects padding lengths kit identity grants groups chains signed links".split()
CLASSES = {"tampered": k.Tampered, "wrong_credentials": k.WrongCredentials, "unsupported_format": k.UnsupportedFormat,
           "limit_exceeded": k.LimitExceeded, "invalid_input": k.InvalidInput, "stale": k.Stale,
           "access_denied": k.AccessDenied, "not_found": k.NotFound}


class Foreign(Exception):
    pass


class Store:
    """The store fields of a case, in the place of a folder."""

    def __init__(self, files):
        self.files = files

    def get(self, path):
        return self.files.get(path)

    def names(self, path):
        return sorted({p[len(path) + 1:].split("/")[0] for p in self.files if p.startswith(path + "/")})


class Case:
    """The inputs of a case: bytes by `case["field"]`, JSON values by `case.raw`; what is left over are outputs."""

    def __init__(self, raw, cases):
        self.all, self.cases, self.used = raw, cases, {"name", "comment", "op", "expect"}

    def __contains__(self, field):
        return field in self.all

    def raw(self, field, default=None):
        self.used.add(field)
        return self.all.get(field, default)

    def __getitem__(self, field):
        return self.resolve(self.raw(field), field)

    def get(self, field):
        return self[field] if field in self else None

    def resolve(self, value, field=None):
        if isinstance(value, str):
            return bytes.fromhex(value)
        if "pattern" in value:
            return pattern(value["pattern"])
        other = self.cases[value["case"]]
        field = value.get("field", field)
        data = bytearray(Case(other, self.cases)[field])
        for edit in value.get("edits", []):
            data = apply_edit(data, edit, self.resolve)
        return bytes(data)

    def outputs(self):
        return {f: v for f, v in self.all.items() if f not in self.used}


def apply_edit(data, edit, resolve):
    at = edit.get("at", 0)
    at += len(data) if at < 0 else 0
    if "append" in edit:
        return data + resolve(edit["append"])
    if "cut" in edit:
        return data[:edit["cut"]]
    if "remove" in edit:
        return data[:at] + data[at + edit["remove"]:]
    if "insert" in edit:
        return data[:at] + resolve(edit["insert"]) + data[at:]
    if "swap" in edit:
        n, other = edit["swap"], edit["with"]
        data[at:at + n], data[other:other + n] = data[other:other + n], data[at:at + n]
        return data
    new = resolve(edit.get("xor", edit.get("put")))
    assert at + len(new) <= len(data), "an edit lies outside"
    data[at:at + len(new)] = [a ^ b for a, b in zip(data[at:], new)] if "xor" in edit else new
    return data


def credential(raw):
    get = lambda field: bytes.fromhex(raw[field])
    return {"password": lambda: k.Credential.password(get("password")),
            "password_keyfile": lambda: k.Credential.password(get("password"), get("keyfile")),
            "recovery_phrase": lambda: k.Credential.phrase(raw["phrase"]),
            "keychain_secret": lambda: k.Credential.keychain(get("secret")),
            "identity": lambda: k.Credential.identity(get("secrets"))}[raw["kind"]]()


# One function for each op. It takes the inputs and gives every output there is.

def kdf_kdf(c):
    return {"output": k.kdf(c["key"], c.raw("label"), *map(c.resolve, c.raw("contexts", [])))}


def kdf_argon2id(c):
    return {"output": k.argon2id(c["password"], c["salt"], c.raw("m"), c.raw("t"), c.raw("p"))}


def kdf_object_keys(c):
    path = tuple(c.raw("path"))
    key = lambda top, label: [k.folder_key(top, label, path[:i]) for i in range(len(path))]
    ik = k.object_key(c["ck"], path)
    return {"name_keys": key(c["nk"], "dir"), "content_keys": key(c["ck"], "sub"), "ik": ik,
            "mk": k.kdf(ik, "msg", c["salt"])}


def kdf_record(c):
    return {"plaintext": k.open_record(c["key"], c.raw("kind"), c["vault_id"], c["place"], c["sealed"])}


def kdf_cbor(c):
    k.cbor_decode(c["cbor"])
    return {}


def passwords_normalize(c):
    return {"output": k.normalize_password(c["password"])}


def passwords_phrase(c):
    return {"output": k.phrase_entropy(c.raw("phrase"))}


def passwords_keyfile(c):
    k.check_keyfile(c["keyfile"])
    return {}


def slots_open(c):
    slot, opener, vault_id = k.cbor_decode(c["slot"]), credential(c.raw("credential")), c["vault_id"]
    k.check_slot(slot)
    root = k.open_slot(slot, vault_id, opener)
    if root is None:
        raise k.WrongCredentials
    return {"kek": opener.kek(slot, vault_id), "root_key": root}


def header_read(c):
    h = k.Header(c["header"], c.get("vault_id"))
    out = {f: getattr(h, f) for f in ("hash suite sequence previous time ledger_sequence ledger_hash authority").split()}
    if "credential" in c:
        root = h.unlock(credential(c.raw("credential")))
        seed, state, owners, _ = h.secrets(root)
        out |= {"root_key": root, "authority_seed": seed, "state_key": state, "owner_keys": owners}
    return out


def store_of(c):
    return Store({path: c.resolve(data, path) for path, data in c.raw("store").items()})


def header_choose(c):
    return {"hash": k.choose_header(store_of(c), c.get("vault_id")).hash}


def authorities(c):
    return [(c.resolve(key), begin) for key, begin in c.raw("authorities")]


def ledger_entry(c):
    e = k.Entry(c["entry"], c["vault_id"], authorities(c))
    owners = list(map(c.resolve, c.raw("owner_keys")))
    e.actions(owners)
    out = {f: getattr(e, f) for f in "hash sequence time previous header settled".split()}
    return out | {"actions": e.owner_parts(owners)}


def ledger_chain(c):
    at = c.raw("at")
    ledger = k.Ledger(store_of(c), c["vault_id"], authorities(c), list(map(c.resolve, c.raw("owner_keys"))),
                      (at["header_sequence"], c.resolve(at["header_hash"]),
                       at["ledger_sequence"], c.resolve(at["ledger_hash"])))
    state = ledger.of_chain
    contacts = [[name, k.Card(card).fingerprint, trust] for name, card, trust in state.contacts.values()]
    grants = [[g[0], g[1], g[3], g[6], g[8]] for g in state.grants.values()]
    return {"sequence": ledger.last.sequence, "hash": ledger.last.hash, "collections": collections(state.tree),
            "contacts": sorted(contacts, key=lambda c: c[0].encode()), "grants": sorted(grants)}


def collections(tree):
    return [{"id": x.id, "mount": "/".join(x.mount), "options": x.options, "floor": x.floor, "epochs": x.epochs,
             "nk": b"" if x.mount or x.closed is not None else tree.nk} for _, x in sorted(tree.collections.items())]


def grants_entry(c):
    e = k.Entry(c["entry"], c["vault_id"], authorities(c))
    return {"hash": e.hash, "sequence": e.sequence}


def share_of(c):
    share = k.Share(k.Identity(c["secrets"]), c["vault_id"], c["letter_name"], c["letter"])
    bundles = iter(map(c.resolve, c.raw("bundles", [])))
    signers = authorities(c)
    for data in map(c.resolve, c.raw("entries", [])):
        share.follow(k.Entry(data, c["vault_id"], signers))
        bundle = next(bundles, None) if share.awaited else None
        if bundle is not None:
            share.renew(bundle)
    return share


def grants_open(c):
    return shown(share_of(c))


def shown(share):
    return {"id": share.letter.id, "scope": share.letter.scope, "grantor": share.letter.grantor.fingerprint,
            "sequence": share.head[0], "head": share.head[1], "ended": share.has_ended, "top": share.tree.top,
            "collections": collections(share.tree)}


def to_the_end(c, share):
    bundles, signers = {k.sha256(b): b for b in map(c.resolve, c.raw("bundles"))}, authorities(c)
    for data in map(c.resolve, c.raw("entries")):
        entry = k.Entry(data, c["vault_id"], signers)
        if entry.sequence > share.head[0]:
            share.follow(entry)
            if share.awaited and not share.renew(bundles[share.awaited[1]]):
                break
    return share


def in_group(c):
    """By a membership what was given to the group; without a letter to the group, the membership."""
    share = to_the_end(c, k.Share(k.Identity(c["secrets"]), c["vault_id"], c["letter_name"], c["letter"]))
    if c.raw("group_letter", None) is None:
        return share
    return to_the_end(c, k.Share(share, c["vault_id"], c["group_letter_name"], c["group_letter"]))


def groups_open(c):
    return shown(in_group(c))


def groups_object(c):
    return object_of(c, in_group(c))


def chains_open(c):
    share = in_group(c)
    return {**shown(share), "chain": [[x.grantor.fingerprint, x.id] for x in share.chain], "unfiled": share.is_unfiled}


def chains_object(c):
    return object_of(c, in_group(c))


def chains_copy(c):
    file = k.GrantFile(c.raw("text"))
    statement, name, grantee, _, place = file.owners_part(k.Identity(c["secrets"]), c["vault_id"])
    return {"id": statement.id, "to": name, "fingerprint": grantee.fingerprint, "place": place}


def grants_follow(c):
    return grants_open(c)


def grants_file(c):
    file = k.GrantFile(c.raw("text"))
    return {f: getattr(file, f) for f in "address vault_id letter_name grantor letter".split()}


def grants_object(c):
    return object_of(c, share_of(c))


def object_of(c, share):
    path = tuple(c.raw("path").split("/"))
    o = share.open(io.BytesIO(c["object"]), path)
    return {"stored": share.tree.stored_path(path), "epoch": o.epoch, "plaintext": b"".join(o.stream())}


signed_object = grants_object


def link_of(c):
    link = k.Link(c.raw("fragment")).read(c["record"])
    return link.unlock(c.get("password"))


def links_open(c):
    link = link_of(c)
    return {"id": link.id, "kind": link.scope[0], "own_name": link.scope[1], "until": link.end, "purpose": link.purpose, "sequence": link.head[0],
            "head": link.head[1], "top": link.tree.top, "collections": collections(link.tree), "objects": link.objects}


def links_object(c):
    link, path = link_of(c), tuple(c.raw("path").split("/"))
    o = link.open(io.BytesIO(c["object"]), path)
    return {"stored": link.tree.stored_path(path), "epoch": o.epoch, "plaintext": b"".join(o.stream())}


def names_seal(c):
    path, stored, long = tuple(c.raw("path").split("/")), [], {}
    for i, segment in enumerate(path):
        name, full = k.seal_segment(k.folder_key(c["nk"], "dir", path[:i]), segment)
        stored.append(name)
        if full is not None:
            long["/".join(stored) + "~"] = full
    return {"stored": "/".join(stored), "long": long}


def names_open(c):
    path, here, nk, stored = (), [], c["nk"], c.raw("stored").split("/")
    long = {name: c.resolve(full, name) for name, full in c.raw("long", {}).items()}
    for name in stored:
        here.append(name)
        segment = k.open_segment(k.folder_key(nk, "dir", path), name, long.get("/".join(here) + "~"))
        if segment is None:
            raise Foreign
        path += (segment,)
    return {"path": "/".join(path)}


def objects_open(c):
    keys = [(*numbers, c.resolve(ck)) for *numbers, ck in c.raw("epochs")]
    o = k.Object(io.BytesIO(c["object"]), c["vault_id"], c.raw("suite"), c["collection"], keys,
                 c.raw("ledger_sequence"), tuple(c.raw("path").split("/")), c.get("attributes_outside"), c.raw("floor", 0))
    out = {f: getattr(o, f) for f in "version stamp epoch length padded_length expiry".split()}
    out |= {"mtime": o.mtime and list(o.mtime), "attributes": [list(pair) for pair in o.attributes]}
    out["plaintext"] = o.range(*c.raw("range")) if "range" in c else b"".join(o.stream())
    return out


def padding_padme(c):
    return {"padded": k.padme(c.raw("length"))}


def lengths_stored(c):
    return {"stored": k.stored_length(c.raw("suite"), c.raw("plaintext"))}


def lengths_plaintext(c):
    return {"plaintext": k.plain_length(c.raw("suite"), c.raw("stored"))}


def lengths_chunk(c):
    return {"start": k.chunk_start(c.raw("suite"), c.raw("chunk"))}


def kit_read(c):
    header, entries = k.read_kit(c.raw("kit"))
    return {"header": header, "entries": entries}


def identity_card(c):
    card = k.Card(c["card"])
    return {f: getattr(card, f) for f in
            "suite signing_key sealing_key created replaces fingerprint words hash".split()}


def identity_armor(c):
    return {"card": k.read_card(c.raw("text")).data}


def identity_fingerprint(c):
    return {"fingerprint": k.read_fingerprint(c.raw("words"))}


def identity_secrets(c):
    return {"card": k.Identity(c["secrets"]).card.data}


def identity_export(c):
    return {"sealing_key": k.sealing_key(c.raw("suite"), c["seed"]),
            "exported": k.export(c.raw("suite"), c["seed"], c["enc"], c["info"])}


def identity_open(c):
    return {"plaintext": k.Identity(c["secrets"]).open(c["vault_id"], c["place"], c["sealed"])}


def identity_file(c):
    file = k.IdentityFile(c.raw("text"))
    out = {"card": file.card.data}
    if "password" in c:
        out["secrets"] = file.open(c["password"]).secrets
    return out


def agrees(case, expected, actual):
    """Compares JSON with what came out."""
    if isinstance(actual, bytes):
        if isinstance(expected, dict) and "sha256" in expected:
            return len(actual) == expected["length"] and k.sha256(actual).hex() == expected["sha256"]
        return case.resolve(expected) == actual
    if isinstance(actual, (list, tuple)):
        return len(actual) == len(expected) and all(agrees(case, e, a) for e, a in zip(expected, actual))
    if isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(agrees(case, expected[f], actual[f]) for f in actual)
    return expected == actual


def check(file, raw, cases):
    ops = [name for name in globals() if re.fullmatch(f"{file}_[a-z_]+", name)]
    op = globals()[f"{file}_{raw['op']}" if "op" in raw else ops[0]]
    case, expect = Case(raw, cases), raw["expect"]
    try:
        actual = op(case)
        got = "ok"
    except Foreign:
        got = "foreign"
    except k.KluisError as e:
        got = next(name for name, c in CLASSES.items() if c is type(e)) + f": {e}"
    assert got.split(":")[0] == expect, f"expected {expect}, got {got}"
    if expect == "ok":
        for field, value in case.outputs().items():
            if field in DEFAULTS[file]:
                continue
            assert field in actual, f"the field {field} is unknown"
            assert agrees(case, value, actual[field]), f"{field} differs: {value!r:.200} and {actual[field]!r:.200}"


DEFAULTS = {}


def run():
    with test("every vector file has a reader, and the other way round"):
        assert {p.stem for p in VECTORS.glob("*.json")} == set(FILES)
    for path in sorted(VECTORS.glob("*.json")):
        content = json.loads(path.read_text())
        DEFAULTS[path.stem] = defaults = content.get("defaults", {})
        cases = {raw["name"]: defaults | raw for raw in content["cases"]}
        with test(f"{path.stem}: names are unique, and there are cases"):
            assert len(cases) == len(content["cases"]) > 0 and content["file"] == path.stem
        for name, raw in cases.items():
            with test(f"{path.stem}: {name}"):
                check(path.stem, raw, cases)
