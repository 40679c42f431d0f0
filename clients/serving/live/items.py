"""Items that were put from outside, to be followed change by change, and those deleted."""

import json
import sqlite3
from collections.abc import Container, Sequence
from dataclasses import dataclass

from clients.serving.answers import Deleted, NewItem, Put
from clients.serving.live.database import Database
from clients.serving.live.rows import added, total


@dataclass(frozen=True)
class Items:
    """The items of a live store."""

    database: Database

    def put(self, items: Sequence[NewItem]) -> Put:
        """Add items, or change those whose content is another; one commit.  None of them is deleted
        then; one that was is added.
        """

        def work(db: sqlite3.Connection) -> Put:
            counts = {"added": 0, "changed": 0, "unchanged": 0}
            for one in items:
                back = db.execute("DELETE FROM deleted WHERE item = ?", (one.item_id,)).rowcount
                content = (one.title, json.dumps(one.category, ensure_ascii=False), one.text)
                known = db.execute(
                    "SELECT title, category, text FROM items WHERE item = ?", (one.item_id,)
                ).fetchone()
                if known == content and not back:
                    counts["unchanged"] += 1
                    continue
                counts["added" if known is None or back else "changed"] += 1
                db.execute(
                    "INSERT OR REPLACE INTO items (item, seq, title, category, text) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (one.item_id, added(db, "items", 1), *content),
                )
            return Put(**counts)

        return self.database.write(work)

    def delete(self, item_ids: Sequence[str], known: Container[str]) -> Deleted:
        """Note that items are not offered any more; one commit.

        Args:
            item_ids: each counts once.
            known: the catalogue's; what was put is known too.
        """

        def work(db: sqlite3.Connection) -> Deleted:
            deleted, already, unknown = 0, 0, []
            for item in dict.fromkeys(item_ids):
                if db.execute("SELECT 1 FROM deleted WHERE item = ?", (item,)).fetchone():
                    already += 1
                elif (
                    item in known
                    or db.execute("SELECT 1 FROM items WHERE item = ?", (item,)).fetchone()
                ):
                    deleted += 1
                    seq = added(db, "items", 1)
                    db.execute("INSERT INTO deleted (item, seq) VALUES (?, ?)", (item, seq))
                else:
                    unknown.append(item)
            return Deleted(deleted=deleted, already=already, unknown=tuple(unknown))

        return self.database.write(work)

    def deleted(self) -> list[str]:
        """What is not offered, the first deleted first."""
        with self.database.reading() as db:
            return [item for (item,) in db.execute("SELECT item FROM deleted ORDER BY seq")]

    def after(self, seq: int) -> tuple[list[NewItem], int]:
        """(items that were added or changed after change number `seq`, oldest change first; the
        newest change's number).  An item that changed twice comes once, as it is now.
        """
        with self.database.reading() as db:
            rows = db.execute(
                "SELECT item, title, category, text, seq FROM items WHERE seq > ? ORDER BY seq",
                (seq,),
            ).fetchall()
        found = [
            NewItem(item_id=item, title=title, category=tuple(json.loads(category)), text=text)
            for item, title, category, text, _ in rows
        ]
        return found, rows[-1][4] if rows else seq

    def count(self) -> int:
        """Changes so far, of both kinds."""
        with self.database.reading() as db:
            return int(total(db, "items"))
