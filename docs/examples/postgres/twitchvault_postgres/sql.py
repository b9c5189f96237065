"""The statements. A key is its UTF-8 bytes: PostgreSQL's text cannot hold a NUL."""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "twitchvault"

# Processes that open the store at the same time create the tables one after the other.
CREATE: Final = """
SELECT pg_advisory_xact_lock(hashtext('twitchvault'));

CREATE TABLE IF NOT EXISTS twitchvault_version (version bigint NOT NULL);
INSERT INTO twitchvault_version SELECT 0 WHERE NOT EXISTS (SELECT FROM twitchvault_version);

-- A deleted key keeps its row, without a value: feeds see the delete, however late they read.
CREATE TABLE IF NOT EXISTS twitchvault_entries (
    key bytea PRIMARY KEY,
    version bigint NOT NULL UNIQUE,
    value bytea
);

CREATE OR REPLACE FUNCTION twitchvault_write(
    this bytea, new bytea, expect bigint, OUT current bigint, OUT written bigint
) LANGUAGE plpgsql AS $$
BEGIN
    -- The row stays locked until the commit, so a larger version is always a later commit.
    SELECT version INTO written FROM twitchvault_version FOR UPDATE;
    SELECT coalesce(max(version), 0) INTO current
        FROM twitchvault_entries WHERE key = this AND value IS NOT NULL;
    IF expect <> current OR (new IS NULL AND current = 0) THEN
        written := 0;
        RETURN;
    END IF;
    written := written + 1;
    UPDATE twitchvault_version SET version = written;
    INSERT INTO twitchvault_entries VALUES (this, written, new)
        ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value;
    PERFORM pg_notify('twitchvault', '');
END $$;
"""

WRITE: Final = "SELECT current, written FROM twitchvault_write($1, $2, $3)"
GET: Final = """
SELECT key, version, value FROM twitchvault_entries WHERE key = $1 AND value IS NOT NULL"""
SCAN: Final = """
SELECT key, version, value FROM twitchvault_entries
WHERE key > $1 AND substring(key FROM 1 FOR octet_length($2::bytea)) = $2 AND value IS NOT NULL
ORDER BY key LIMIT 500"""
LAST: Final = "SELECT version FROM twitchvault_version"
CHANGES: Final = """
SELECT key, version, value FROM twitchvault_entries WHERE version > $1 ORDER BY version"""
