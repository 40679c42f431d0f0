"""Whether a log is whole, and if not, where.  Nothing here reads or writes files.

A log is `NAME.jsonl`, one envelope a line, and `NAME.jsonl.head`: the signed tree head, which fixes
number and content of all entries, and the last line once more.  What is checked:
1. The head is of this log, signed by its key, and not a byte of its file is another.
2. Every line is an envelope in its one text, with a statement that this log may hold.
3. Every statement stands where it says, and the lines before it have the root that it says.
4. The lines are as many as the head says, and have its root.
5. Every signature, and that every statement is in its one text, where the log is not under its
   head or where that is asked for.  Under the head it is not needed: the head is signed by the
   same key over every byte of every entry, so who could pass off an entry there could as well
   have signed it.
"""

from dataclasses import dataclass, field

from shared.errors import ProtocolError
from shared.transparency.canonical import canonical, parse
from shared.transparency.envelope import STATEMENT, TREE_HEAD, Envelope
from shared.transparency.keys import PublicKey, SigningKey
from shared.transparency.merkle import Tree, leaf_hash
from shared.transparency.statement import (
    COORDINATOR,
    CoordinatorRound,
    PlatformRound,
    Statement,
    parse_statement,
)


@dataclass(frozen=True)
class TreeHead:
    """Size and root of a log."""

    log: str
    size: int
    root: str

    def signed(self, key: SigningKey) -> Envelope:
        """The head in an envelope of its own type."""
        return Envelope.signed(TREE_HEAD, canonical(vars(self)), key)


@dataclass(frozen=True)
class Entry:
    """One statement in its place.

    Args:
        index: line in the file, from 0.
        leaf: hex hash of the line as a leaf of the tree.
    """

    index: int
    leaf: str
    envelope: Envelope
    statement: Statement


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: entry from 0 and its round, as far as they can be told."""

    entry: int | None
    round: int | None
    what: str


@dataclass
class Inspection:
    """What a log holds.

    Attributes:
        entries: those that can be read, in the order of the file.
        head: what the signed head says; None where it says nothing that counts.
        faults: in the order of the file.
        signatures: how many were checked one by one.
        torn: the last line, where it is known from the head and not wholly in the file.
    """

    entries: list[Entry] = field(default_factory=list)
    head: TreeHead | None = None
    faults: list[Fault] = field(default_factory=list)
    signatures: int = 0
    torn: bytes | None = None
    tree: Tree = field(default_factory=Tree)


def head_bytes(head: TreeHead, last: bytes, key: SigningKey) -> bytes:
    """What the head's file holds: the signed head, and the log's last line."""
    signed = head.signed(key).to_bytes().decode()
    return canonical({"head": signed, "last": last.decode()})


def inspect(
    content: bytes, head: bytes | None, *, name: str, key: PublicKey, every_signature: bool = False
) -> Inspection:
    """Rules 1 to 5 of the module for the log `name` whose two files read `content` and `head`."""
    found = Inspection()
    last = _read_head(found, head, name, key)
    *lines, tail = content.split(b"\n")
    tree = found.tree
    roots = []
    for line in lines:
        roots.append(tree.root())
        tree.append(leaf_hash(line))
    size = -1 if found.head is None else found.head.size
    root = "" if found.head is None else found.head.root
    covered = not tail and len(lines) == size and tree.root().hex() == root
    if not covered:
        found.torn = _torn(tree, tail, last, size, root)
    elif lines[-1] != last:
        found.faults.append(Fault(None, None, "the head's file is altered: another last line"))
    one_by_one = every_signature or not covered
    for index, line in enumerate(lines):
        entry = _read_entry(found, index, line, name, exact=one_by_one)
        if entry is None:
            continue
        found.entries.append(entry)
        if one_by_one:
            found.signatures += 1
            if not entry.envelope.is_signed_by(key):
                _fault(found, entry, f"not signed with the key of {name}")
                continue
        _check_place(found, entry, roots[index].hex())
    if found.torn is not None:
        round_ = _round_of(found.torn)
        what = "not written to its end, or cut off; known from the head"
        found.faults.append(Fault(len(lines), round_, what))
    elif tail:
        found.faults.append(Fault(len(lines), None, "a line without an end"))
    elif 0 <= len(lines) < size:
        what = f"cut off here: the signed head knows {size} entries"
        found.faults.append(Fault(len(lines), None, what))
    elif 0 <= size < len(lines):
        found.faults.append(Fault(size, None, f"beyond the signed head's {size} entries"))
    elif found.head is not None and not covered and not found.faults:
        what = "other entries than the signed head knows"
        found.faults.append(Fault(None, None, what))
    return found


def _read_head(found: Inspection, head: bytes | None, name: str, key: PublicKey) -> bytes:
    """Rule 1; the log's last line as the head knows it."""
    try:
        if head is None:
            raise _bad("a signed head", "none")
        values = parse(head, "head")
        signed = Envelope.from_bytes(values["head"].encode(), "head")
        says = parse(signed.payload, "head")
        if signed.kind != TREE_HEAD or not signed.is_signed_by(key):
            raise _bad(f"one signed with the key of {name}", "another signature")
        tree_head = TreeHead(**says)
        if set(values) != {"head", "last"} or tree_head.log != name or tree_head.size < 1:
            raise _bad(f"the head of {name}", "another")
        last = str(values["last"]).encode()
    except (ProtocolError, KeyError, TypeError, AttributeError, ValueError) as error:
        why = (
            f"expected {error.expected}, got {error.got}"
            if isinstance(error, ProtocolError)
            else ""
        )
        what = "the signed head is missing" if head is None else f"the head's file is altered {why}"
        found.faults.append(Fault(None, None, what.strip()))
        return b""
    found.head = tree_head
    return last


def _torn(tree: Tree, tail: bytes, last: bytes, size: int, root: str) -> bytes | None:
    """The last line, if all that is wrong is that it is not wholly in the file (a crash)."""
    if len(tree) != size - 1 or not (last + b"\n").startswith(tail.rstrip(b"\0")):
        return None
    whole = Tree()
    for index in range(len(tree)):
        whole.append(tree.leaf(index))
    whole.append(leaf_hash(last))
    return last if whole.root().hex() == root else None


def _read_entry(
    found: Inspection, index: int, line: bytes, name: str, *, exact: bool
) -> Entry | None:
    """Rule 2."""
    try:
        envelope = Envelope.from_bytes(line, "entry")
        if envelope.kind != STATEMENT:
            raise _bad("a statement", "another payload")
        statement = parse_statement(envelope.payload, exact=exact)
    except ProtocolError as error:
        what = f"altered: expected {error.expected}, got {error.got}"
        found.faults.append(Fault(index, None, what))
        return None
    entry = Entry(index, found.tree.leaf(index).hex(), envelope, statement)
    if isinstance(statement, CoordinatorRound) != (name == COORDINATOR) or (
        isinstance(statement, PlatformRound) and statement.platform != name
    ):
        _fault(found, entry, "a statement of another log")
    return entry


def _check_place(found: Inspection, entry: Entry, root: str) -> None:
    """Rule 3; what follows from an earlier fault is not told again."""
    index, said = entry.index, entry.statement.index
    if any(fault.entry is not None for fault in found.faults):
        return
    if said > index:
        missing = f"{index}" if said == index + 1 else f"{index} to {said - 1}"
        _fault(found, entry, f"entry {said} stands here: {missing} dropped or moved")
    elif said < index:
        _fault(found, entry, f"entry {said} once more, or out of order")
    elif entry.statement.root != root:
        _fault(found, entry, "does not continue the entries before it")


def _round_of(line: bytes) -> int | None:
    try:
        return parse_statement(Envelope.from_bytes(line, "entry").payload).round
    except ProtocolError:
        return None


def _fault(found: Inspection, entry: Entry, what: str) -> None:
    found.faults.append(Fault(entry.index, entry.statement.round, what))


def _bad(expected: str, got: str) -> ProtocolError:
    return ProtocolError(expected=expected, got=got, where="record")
