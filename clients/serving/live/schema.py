"""The tables of `live.db`.

An event holds numbers for its user and its item, so that it is small, and so that nothing in its
row names a user once the user's own row is gone.  Numbers are never given twice.

    users     number <-> pseudonym, of those with events
    names     number <-> item id, of those with events
    events    `seq` is the order of arrival
    items     put from outside; `seq` says which change of the two was the item's last
    deleted   items that are not offered, of the catalogue or put; `seq` likewise
    consent   what a user said; `seq` likewise; `pending`: not taken up by training yet;
              `erased`: all else about the user is gone, and nothing new is taken
    totals    counters

Version 1 had no items and no totals, and users and items were written out in every event.  Who had
opted out of learning is pending after the change: whether training had taken it up was not kept.
Version 2 had nothing deleted.
"""

VERSION = 3

_DELETED = """
CREATE TABLE deleted (item TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
"""

SCHEMA = f"""{_DELETED.rstrip()}
CREATE TABLE users (number INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE);
CREATE TABLE names (number INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT NOT NULL UNIQUE);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    user INTEGER NOT NULL, item INTEGER NOT NULL, time REAL NOT NULL
);
CREATE UNIQUE INDEX by_user ON events (user, time, item);
CREATE INDEX by_time ON events (time, item);
CREATE TABLE items (
    item TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE,
    title TEXT NOT NULL, category TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE consent (
    user BLOB PRIMARY KEY, seq INTEGER NOT NULL UNIQUE,
    learning INTEGER NOT NULL, similar_users INTEGER NOT NULL,
    pending INTEGER NOT NULL, erased INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_pending ON consent (seq) WHERE pending;
CREATE TABLE totals (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
INSERT INTO totals VALUES ('events', 0), ('items', 0), ('consents', 0), ('pruned', -1e999);
"""

CHANGES = {
    1: f"""
DROP INDEX by_user;
DROP INDEX by_time;
ALTER TABLE events RENAME TO old_events;
ALTER TABLE consent RENAME TO old_consent;
{SCHEMA.strip()}
INSERT INTO users (name) SELECT user FROM old_events GROUP BY user ORDER BY min(number);
INSERT INTO names (item) SELECT item FROM old_events GROUP BY item ORDER BY min(number);
INSERT INTO events (seq, user, item, time)
    SELECT old.number, users.number, names.number, old.time FROM old_events AS old
    JOIN users ON users.name = old.user JOIN names ON names.item = old.item;
INSERT INTO consent (user, seq, learning, similar_users, pending, erased)
    SELECT user, row_number() OVER (ORDER BY user), learning, learning AND similar_users,
        NOT learning, 0 FROM old_consent;
UPDATE totals SET value = (SELECT count(*) FROM events) WHERE name = 'events';
UPDATE totals SET value = (SELECT count(*) FROM consent) WHERE name = 'consents';
DROP TABLE old_events;
DROP TABLE old_consent;
""",
    2: _DELETED,
}
"""SQL that makes an older version's file one of this version."""
