"""Items that were put from outside, to be followed change by change."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from clients.serving.answers import NewItem, Put
from clients.serving.live.database import Database
from clients.serving.live.rows import added, total


@dataclass(frozen=True)
class Items:
    """The items of a live store."""

    database: Database

    def put(self, items: Sequence[NewItem]) -> Put:
        """Add items, or change those whose content is another; one commit."""

        def work(db: sqlite3.Connection) -> Put:
            counts = {"added": 0, "changed": 0, "unchanged": 0}
            for one in items:
                content = (one.title, json.dumps(one.category, ensure_ascii=False), one.text)
                known = db.execute(
                    "SELECT title, category, text FROM items WHERE item = ?", (one.item_id,)
                ).fetchone()
                if known == content:
                    counts["unchanged"] += 1
                    continue
                counts["added" if known is None else "changed"] += 1
                db.execute(
                    "INSERT OR REPLACE INTO items (item, seq, title, category, text) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (one.item_id, added(db, "items", 1), *content),
                )
            return Put(**counts)

        return self.database.write(work)

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
        """Changes so far."""
        with self.database.reading() as db:
            return int(total(db, "items"))
