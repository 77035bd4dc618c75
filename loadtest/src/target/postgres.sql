-- What one world is in PostgreSQL, and the procedure that charges it. Run once for each world, in a
-- schema of its own.

CREATE TABLE line_item (
    instance integer,
    place integer, -- In charging order.
    id text NOT NULL,
    available bigint NOT NULL CHECK (available >= 0),
    used bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, place)
);

-- One row for each decision. `charged` is `id=tokens`, with a space between them, of each line item
-- that was charged; denied: nothing.
CREATE TABLE event (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decided_at timestamptz NOT NULL DEFAULT now(),
    instance integer NOT NULL,
    request text NOT NULL,
    charged text NOT NULL
);

-- Answers that are kept under an idempotency key.
CREATE TABLE answer (
    key uuid PRIMARY KEY,
    charged text NOT NULL
);

-- Charges as farebox does: once under a key (null: without), over the line items in charging order,
-- all or nothing. Two at once under one key: the second fails, charges nothing, and may be repeated.
CREATE FUNCTION charge(of_instance integer, wanted bigint, asked text, under uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    item record;
    still bigint := wanted;
    tokens bigint;
    places integer[] := '{}';
    amounts bigint[] := '{}';
    said text := '';
BEGIN
    IF under IS NOT NULL THEN
        SELECT charged INTO said FROM answer WHERE key = under;
        IF FOUND THEN
            RETURN said;
        END IF;
        said := '';
    END IF;
    FOR item IN
        SELECT place, id, available FROM line_item
        WHERE instance = of_instance AND available > 0 ORDER BY place FOR UPDATE
    LOOP
        tokens := least(item.available, still);
        places := places || item.place;
        amounts := amounts || tokens;
        said := concat_ws(' ', nullif(said, ''), item.id || '=' || tokens);
        still := still - tokens;
        EXIT WHEN still = 0;
    END LOOP;
    IF still > 0 THEN
        said := '';
    ELSE
        UPDATE line_item SET available = available - amount, used = used + amount
        FROM unnest(places, amounts) AS charge (of_place, amount)
        WHERE instance = of_instance AND place = of_place;
    END IF;
    INSERT INTO event (instance, request, charged) VALUES (of_instance, asked, said);
    IF under IS NOT NULL THEN
        INSERT INTO answer VALUES (under, said);
    END IF;
    RETURN said;
END
$$;
