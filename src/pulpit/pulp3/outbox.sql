-- What Pulpit keeps in the database of a Pulp 3: an outbox, and triggers that write into it. All of it is in the schema
-- `pulpit` but the three triggers; @pulp@ stands for the schema of Pulp's own tables.
--
-- Rules: no trigger names a column of Pulp's (a migration could not alter it any more), nothing refers to Pulp's tables by a
-- foreign key, and whatever goes wrong in here is a warning: Pulp's own statement must succeed. What a failure has cost is
-- made up for by pulpit.reconcile(). Every statement can be run again. What reads tables is PL/pgSQL, which keeps its plans; a
-- function in SQL that cannot be put in line is planned at every call.

CREATE SCHEMA IF NOT EXISTS pulpit;

CREATE TABLE IF NOT EXISTS pulpit.attachment (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version integer NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    every_task boolean NOT NULL DEFAULT false,
    most_waiting bigint NOT NULL DEFAULT 1000000,
    reconciled_at timestamptz,
    reconciled bigint NOT NULL DEFAULT 0
);

-- One row for each start and each end of a task or a publication, whoever writes it and however often.
CREATE TABLE IF NOT EXISTS pulpit.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL,
    object uuid NOT NULL,
    phase text NOT NULL,
    task uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    data jsonb NOT NULL,
    made_up boolean NOT NULL DEFAULT false,
    taken_at timestamptz,
    problem text,
    UNIQUE (object, phase)
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON pulpit.outbox (id) WHERE taken_at IS NULL;
CREATE INDEX IF NOT EXISTS outbox_taken ON pulpit.outbox (taken_at) WHERE taken_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_task ON pulpit.outbox (task);

-- What a task is for, by the names that the content plug-ins have in common.
CREATE OR REPLACE FUNCTION pulpit.kind(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name ~ '\.(synchronize|sync)$' THEN 'sync'
                WHEN name ~ '\.(publish|publish_verbatim)$' THEN 'publish'
                ELSE 'other' END
$$;

-- A repository with the names that an event needs; both are gone when Pulp deletes it.
CREATE OR REPLACE FUNCTION pulpit.repository(wanted uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object('id', r.pulp_id, 'name', r.name, 'type', r.pulp_type, 'domain', d.name)
        FROM @pulp@.core_repository r LEFT JOIN @pulp@.core_domain d ON d.pulp_id = r.pulp_domain_id
        WHERE r.pulp_id = wanted);
END $$;

-- The repository and the remote that a task has reserved, by PRN or, in older versions, by href.
CREATE OR REPLACE FUNCTION pulpit.reserved(task jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        WITH resource AS (
            SELECT text, (regexp_match(text, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'))[1]::uuid AS id
            FROM jsonb_array_elements_text(task -> 'reserved_resources_record') AS reserved (text)
        )
        SELECT jsonb_build_object(
            'repository', (SELECT pulpit.repository(r.pulp_id) FROM resource
                           JOIN @pulp@.core_repository r ON r.pulp_id = resource.id
                           ORDER BY text LIKE 'shared:%' LIMIT 1),
            'repository_prn', (SELECT regexp_replace(text, '^shared:', '') FROM resource
                               JOIN @pulp@.core_repository r ON r.pulp_id = resource.id
                               WHERE text ~ '^(shared:)?prn:' ORDER BY text LIKE 'shared:%' LIMIT 1),
            'remote', (SELECT jsonb_build_object('id', r.pulp_id, 'name', r.name, 'type', r.pulp_type) FROM resource
                       JOIN @pulp@.core_remote r ON r.pulp_id = resource.id LIMIT 1))
        FROM (SELECT 1) AS once WHERE jsonb_typeof(task -> 'reserved_resources_record') = 'array');
END $$;

-- A version of a repository with what it has added, removed and present, by type of content.
CREATE OR REPLACE FUNCTION pulpit.version(wanted uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'id', v.pulp_id, 'number', v.number, 'complete', v.complete, 'repository', pulpit.repository(v.repository_id),
            'counts', (SELECT jsonb_object_agg(c.count_type, c.counts) FROM (
                SELECT count_type, jsonb_object_agg(content_type, count) AS counts
                FROM @pulp@.core_repositoryversioncontentdetails
                WHERE repository_version_id = v.pulp_id GROUP BY count_type) AS c))
        FROM @pulp@.core_repositoryversion v WHERE v.pulp_id = wanted);
END $$;

-- What a task has made, as far as it still exists; the first hundred.
CREATE OR REPLACE FUNCTION pulpit.created(task uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_agg(jsonb_build_object(
            'id', c.object_id, 'app', y.app_label, 'model', y.model, 'version', pulpit.version(c.object_id),
            'publication', (SELECT jsonb_build_object('type', p.pulp_type, 'complete', p.complete,
                                'version', pulpit.version(p.repository_version_id))
                            FROM @pulp@.core_publication p WHERE p.pulp_id = c.object_id)) ORDER BY c.pulp_created)
        FROM (SELECT * FROM @pulp@.core_createdresource r WHERE r.task_id = task ORDER BY pulp_created LIMIT 100) AS c
        JOIN @pulp@.django_content_type y ON y.id = c.content_type_id);
END $$;

-- What a task has said of its progress.
CREATE OR REPLACE FUNCTION pulpit.progress(task uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_agg(jsonb_build_object('message', message, 'code', code, 'state', state, 'total', total,
                                            'done', done) ORDER BY pulp_created)
        FROM (SELECT * FROM @pulp@.core_progressreport p WHERE p.task_id = task ORDER BY pulp_created LIMIT 100) AS p);
END $$;

-- What of a task may leave: its arguments may hold secrets.
CREATE OR REPLACE FUNCTION pulpit.slim(task jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'pulp_id', task -> 'pulp_id', 'name', task -> 'name', 'state', task -> 'state', 'error', task -> 'error',
        'logging_cid', task -> 'logging_cid', 'pulp_created', task -> 'pulp_created',
        'started_at', task -> 'started_at', 'finished_at', task -> 'finished_at',
        'parent_task_id', task -> 'parent_task_id', 'task_group_id', task -> 'task_group_id')
$$;

-- Write a row once and wake the reader. Beyond `most_waiting` nothing is written, so that a reader that never comes back
-- does not fill the disk; and no notification when the queue of PostgreSQL is half full, for that would fail the commit.
CREATE OR REPLACE FUNCTION pulpit.put(
    its_subject text, its_object uuid, its_phase text, its_task uuid, its_data jsonb, is_made_up boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    oldest bigint := (SELECT o.id FROM pulpit.outbox o WHERE o.taken_at IS NULL ORDER BY o.id LIMIT 1);
    newest bigint := (SELECT o.id FROM pulpit.outbox o ORDER BY o.id DESC LIMIT 1);
BEGIN
    IF newest - oldest >= (SELECT a.most_waiting FROM pulpit.attachment a) THEN
        RAISE EXCEPTION 'too many rows wait for the reader';
    END IF;
    INSERT INTO pulpit.outbox (subject, object, phase, task, data, made_up)
        VALUES (its_subject, its_object, its_phase, its_task, its_data, is_made_up)
        ON CONFLICT (object, phase) DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('pulpit', '');
    END IF;
    RETURN true;
END $$;

-- Write down that a publication has begun or is complete, unless a task of its own tells that already.
CREATE OR REPLACE FUNCTION pulpit.note_publication(own uuid, its_phase text, is_made_up boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known record;
BEGIN
    SELECT to_jsonb(t) AS task, p.pulp_type, p.repository_version_id, y.app_label, y.model INTO known
        FROM @pulp@.core_publication p
        JOIN @pulp@.core_createdresource c ON c.object_id = p.pulp_id
        JOIN @pulp@.core_task t ON t.pulp_id = c.task_id
        JOIN @pulp@.django_content_type y ON y.id = c.content_type_id
        WHERE p.pulp_id = own LIMIT 1;
    IF NOT FOUND OR pulpit.kind(known.task ->> 'name') = 'publish' THEN
        RETURN false;
    END IF;
    RETURN pulpit.put('publication', own, its_phase, (known.task ->> 'pulp_id')::uuid, jsonb_build_object(
        'task', pulpit.slim(known.task), 'type', known.pulp_type, 'app', known.app_label, 'model', known.model,
        'version', pulpit.version(known.repository_version_id),
        'state', CASE its_phase WHEN 'finish' THEN 'completed' END), is_made_up);
END $$;

-- Write down the state of a task, and at its end what of its publications was not told yet.
CREATE OR REPLACE FUNCTION pulpit.note_task(its_row jsonb, is_made_up boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    own uuid := its_row ->> 'pulp_id';
    its_state text := its_row ->> 'state';
    its_kind text := pulpit.kind(its_row ->> 'name');
    wants_every boolean := (SELECT a.every_task FROM pulpit.attachment a);
    its_phase text := CASE WHEN its_state IN ('completed', 'failed', 'canceled', 'skipped') THEN 'finish'
                           WHEN its_state = 'running' THEN 'start'
                           WHEN its_state = 'waiting' AND wants_every THEN 'waiting' END;
    told jsonb;
    made jsonb;
BEGIN
    IF its_phase IS NULL OR (its_phase = 'start' AND its_kind = 'other' AND NOT wants_every) THEN
        RETURN false;
    END IF;
    told := jsonb_build_object('task', pulpit.slim(its_row));
    BEGIN
        IF its_phase = 'finish' THEN
            made := pulpit.created(own);
            IF its_kind = 'other' AND NOT wants_every
                AND NOT coalesce(jsonb_path_exists(made, '$[*].version.id'), false)
                AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.task = own) THEN
                RETURN false;
            END IF;
            PERFORM pulpit.note_publication((m ->> 'id')::uuid, 'finish', is_made_up)
                FROM jsonb_array_elements(made) AS m WHERE m #>> '{publication,complete}' = 'true';
            PERFORM pulpit.put('publication', o.object, 'finish', own,
                    o.data || jsonb_build_object('task', pulpit.slim(its_row), 'state', its_state), is_made_up)
                FROM pulpit.outbox o WHERE o.task = own AND o.subject = 'publication' AND o.phase = 'start'
                    AND NOT EXISTS (SELECT FROM pulpit.outbox f WHERE f.object = o.object AND f.phase = 'finish');
            told := told || jsonb_build_object('created', made, 'progress', pulpit.progress(own));
        END IF;
        told := told || coalesce(pulpit.reserved(its_row), '{}'::jsonb);
        told := told || jsonb_build_object('domain', (SELECT d.name FROM @pulp@.core_domain d
                                                      WHERE d.pulp_id = (its_row ->> 'pulp_domain_id')::uuid));
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'pulpit: an event will say less: %', SQLERRM;
    END;
    RETURN pulpit.put('task', own, its_phase, own, told, is_made_up);
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_task() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state IS DISTINCT FROM NEW.state THEN
        PERFORM pulpit.note_task(to_jsonb(NEW), false);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the state of a task was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_created() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pulpit.note_publication(NEW.object_id, 'start', false);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the beginning of a publication was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_publication() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.complete AND NOT OLD.complete THEN
        PERFORM pulpit.note_publication(NEW.pulp_id, 'finish', false);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the end of a publication was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

-- Make up for what failing open has cost: tasks that run or have ended, of which no row tells. Only those created or
-- finished since the moment are looked at, by indexes of Pulp's.
CREATE OR REPLACE FUNCTION pulpit.reconcile(created_since timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    SELECT count(*) FILTER (WHERE pulpit.note_task(missing.task, true)) INTO made FROM (
        SELECT to_jsonb(t) AS task
        FROM @pulp@.core_task t, pulpit.attachment a
        WHERE t.pulp_created > created_since AND t.state IN ('completed', 'failed', 'canceled')
            AND t.finished_at BETWEEN a.attached_at AND clock_timestamp() - interval '5 seconds'
            AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = t.pulp_id AND o.phase = 'finish')
        UNION ALL
        SELECT to_jsonb(t)
        FROM @pulp@.core_task t, pulpit.attachment a
        WHERE t.state = 'running' AND t.started_at BETWEEN a.attached_at AND clock_timestamp() - interval '5 seconds'
            AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = t.pulp_id AND o.phase = 'start')
    ) AS missing;
    UPDATE pulpit.attachment SET reconciled_at = clock_timestamp(), reconciled = reconciled + made;
    RETURN made;
END $$;

INSERT INTO pulpit.attachment AS a (version) VALUES (1) ON CONFLICT (only_one) DO UPDATE SET version = 1;

DROP TRIGGER IF EXISTS pulpit_task ON @pulp@.core_task;
CREATE TRIGGER pulpit_task AFTER INSERT OR UPDATE ON @pulp@.core_task FOR EACH ROW EXECUTE FUNCTION pulpit.on_task();
DROP TRIGGER IF EXISTS pulpit_created ON @pulp@.core_createdresource;
CREATE TRIGGER pulpit_created AFTER INSERT ON @pulp@.core_createdresource
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_created();
DROP TRIGGER IF EXISTS pulpit_publication ON @pulp@.core_publication;
CREATE TRIGGER pulpit_publication AFTER UPDATE ON @pulp@.core_publication
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_publication();
