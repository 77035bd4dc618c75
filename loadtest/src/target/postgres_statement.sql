-- Charges the first line item that has enough; nothing is split. Once under a key ($4, null:
-- without). Two at once under one key: the second fails, charges nothing, and may be repeated.
WITH known AS MATERIALIZED (
    SELECT charged FROM answer WHERE key = $4
), first AS (
    SELECT place FROM line_item
    WHERE instance = $1 AND available >= $2 AND NOT EXISTS (SELECT FROM known)
    ORDER BY place LIMIT 1 FOR UPDATE
), debited AS (
    UPDATE line_item SET available = available - $2, used = used + $2
    FROM first WHERE line_item.instance = $1 AND line_item.place = first.place
    RETURNING id || '=' || $2 AS charged
), decided AS (
    SELECT coalesce((SELECT charged FROM debited), '') AS charged
    WHERE NOT EXISTS (SELECT FROM known)
), logged AS (
    INSERT INTO event (instance, request, charged) SELECT $1, $3, charged FROM decided
), kept AS (
    INSERT INTO answer SELECT $4, charged FROM decided WHERE $4 IS NOT NULL
)
SELECT charged FROM known UNION ALL SELECT charged FROM decided
