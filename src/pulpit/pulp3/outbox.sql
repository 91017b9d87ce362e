-- What Pulpit keeps in the database of a Pulp 3: an outbox, and triggers that write into it. All of it is in the schema
-- `pulpit` but the three triggers; @pulp@ stands for the schema of Pulp's own tables.
--
-- Rules: no trigger names a column of Pulp's (a migration could not alter it any more), nothing refers to Pulp's tables by a
-- foreign key, and whatever goes wrong in here is a warning: Pulp's own statement must succeed. What a failure has cost is
-- made up for by pulpit.reconcile(). Every statement can be run again. What reads tables is PL/pgSQL, which keeps its plans; a
-- function in SQL that cannot be put in line, such as one that promises more than the functions it calls, is planned at
-- every call. A task of Pulp's is a process with a session of its own, so that few and small functions count, too.

CREATE SCHEMA IF NOT EXISTS pulpit;

CREATE TABLE IF NOT EXISTS pulpit.attachment (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version integer NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    every_task boolean NOT NULL DEFAULT false,
    most_waiting bigint NOT NULL DEFAULT 1000000,
    is_full boolean NOT NULL DEFAULT false,
    reconciled_at timestamptz,
    reconciled bigint NOT NULL DEFAULT 0
);

ALTER TABLE pulpit.attachment ADD COLUMN IF NOT EXISTS is_full boolean NOT NULL DEFAULT false;  -- since version 2

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
DROP INDEX IF EXISTS pulpit.outbox_task;  -- of version 2
CREATE INDEX IF NOT EXISTS outbox_publication ON pulpit.outbox (task) WHERE subject = 'publication';

-- What a task is for, by the names that the content plug-ins have in common.
CREATE OR REPLACE FUNCTION pulpit.kind(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name LIKE '%.synchronize' OR name LIKE '%.sync' THEN 'sync'
                WHEN name LIKE '%.publish' OR name LIKE '%.publish_verbatim' THEN 'publish'
                ELSE 'other' END
$$;

-- The repository, the remote and the domain of a task, by the PRNs that it has reserved or, in older versions, by hrefs.
CREATE OR REPLACE FUNCTION pulpit.reserved(task jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    its_domain uuid := task ->> 'pulp_domain_id';
    domain_name text;
    its_name text;
    own uuid;
    found_domain uuid;
    known jsonb;
    told jsonb;
BEGIN
    SELECT d.name INTO domain_name FROM @pulp@.core_domain d WHERE d.pulp_id = its_domain;
    told := jsonb_build_object('domain', domain_name);
    FOR its_name IN SELECT jsonb_array_elements_text(nullif(task -> 'reserved_resources_record', 'null')) LOOP
        IF its_name LIKE '%repositor%' AND its_name NOT LIKE '%repositoryversion%'
            AND (NOT told ? 'repository' OR NOT starts_with(its_name, 'shared:')) THEN
            own := substring(its_name FROM '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}');
            SELECT r.pulp_domain_id, jsonb_build_object('id', own, 'name', r.name, 'type', r.pulp_type,
                                                        'domain', domain_name)
                INTO found_domain, known FROM @pulp@.core_repository r WHERE r.pulp_id = own;
            IF NOT FOUND THEN  -- it was deleted while the task waited: as it was called in what was told last
                SELECT o.data -> 'repository' INTO known
                    FROM (SELECT data FROM pulpit.outbox ORDER BY id DESC LIMIT 1000) AS o
                    WHERE o.data #>> '{repository,id}' = own::text LIMIT 1;
                CONTINUE WHEN NOT FOUND;
            ELSIF found_domain <> its_domain THEN
                known := known || pulpit.repository(own);
            END IF;
            told := told || jsonb_build_object('repository', known, 'repository_prn', substring(its_name FROM 'prn:.*'));
        ELSIF its_name LIKE '%remote%' AND NOT told ? 'remote' THEN
            own := substring(its_name FROM '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}');
            SELECT jsonb_build_object('remote', jsonb_build_object('id', own, 'name', r.name, 'type', r.pulp_type))
                INTO known FROM @pulp@.core_remote r WHERE r.pulp_id = own;
            told := told || coalesce(known, '{}');
        END IF;
    END LOOP;
    RETURN told;
END $$;

-- A repository; null if there is none.
CREATE OR REPLACE FUNCTION pulpit.repository(wanted uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('id', r.pulp_id, 'name', r.name, 'type', r.pulp_type, 'domain',
                (SELECT d.name FROM @pulp@.core_domain d WHERE d.pulp_id = r.pulp_domain_id))
            FROM @pulp@.core_repository r WHERE r.pulp_id = wanted);
END $$;

-- A version of a repository; null if there is none. How much it has added, removed and present is sorted by the reader,
-- who cannot ask for it later, for Pulp may keep the last version alone. `known` is a repository that was looked up
-- before, mostly the same.
CREATE OR REPLACE FUNCTION pulpit.version(wanted uuid, known jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    its_repository uuid;
    told jsonb;
BEGIN
    SELECT v.repository_id, jsonb_build_object(
            'id', wanted, 'number', v.number, 'complete', v.complete, 'repository', known, 'counts', (
                SELECT jsonb_agg(jsonb_build_array(c.count_type, c.content_type, c.count))
                FROM @pulp@.core_repositoryversioncontentdetails c WHERE c.repository_version_id = wanted))
        INTO its_repository, told FROM @pulp@.core_repositoryversion v WHERE v.pulp_id = wanted;
    IF its_repository::text IS DISTINCT FROM known ->> 'id' THEN
        told := told || jsonb_build_object('repository', pulpit.repository(its_repository));
    END IF;
    RETURN told;
END $$;

-- What a task has made, as far as it still exists; the first hundred. Each look goes by a primary key: planned as one
-- statement, tables that are small today are read whole and joined, which takes three times as long.
CREATE OR REPLACE FUNCTION pulpit.created(task uuid, known jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    made record;
    kind record;
    its_version jsonb;
    its_publication jsonb;
    told jsonb := '[]';
BEGIN
    FOR made IN SELECT c.object_id, c.content_type_id FROM @pulp@.core_createdresource c
        WHERE c.task_id = task ORDER BY c.pulp_created LIMIT 100
    LOOP
        its_version := pulpit.version(made.object_id, known);
        IF its_version IS NOT NULL THEN
            told := told || jsonb_build_object('version', its_version);
            CONTINUE;
        END IF;
        SELECT y.app_label, y.model INTO kind FROM @pulp@.django_content_type y WHERE y.id = made.content_type_id;
        SELECT jsonb_build_object('type', p.pulp_type, 'complete', p.complete,
                                  'version', pulpit.version(p.repository_version_id, known))
            INTO its_publication FROM @pulp@.core_publication p WHERE p.pulp_id = made.object_id;
        told := told || jsonb_build_object('id', made.object_id, 'app', kind.app_label, 'model', kind.model,
                                           'publication', its_publication);
    END LOOP;
    RETURN told;
END $$;

-- What a task has said of its progress, the first hundred reports.
CREATE OR REPLACE FUNCTION pulpit.progress(task uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT jsonb_agg(jsonb_build_object('message', message, 'code', code, 'state', state, 'total', total,
                                                'done', done))
            FROM (SELECT * FROM @pulp@.core_progressreport r WHERE r.task_id = task ORDER BY pulp_created LIMIT 100) AS p);
END $$;

-- What of a task may leave: its arguments may hold secrets.
CREATE OR REPLACE FUNCTION pulpit.slim(task jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'pulp_id', task -> 'pulp_id', 'name', task -> 'name', 'state', task -> 'state', 'error', task -> 'error',
        'logging_cid', task -> 'logging_cid', 'pulp_created', task -> 'pulp_created',
        'started_at', task -> 'started_at', 'finished_at', task -> 'finished_at',
        'parent_task_id', task -> 'parent_task_id', 'task_group_id', task -> 'task_group_id')
$$;

-- Write a row once and wake the reader. Once `most_waiting` wait, which is looked at now and then, nothing is written any
-- more, so that a reader that never comes back does not fill the disk; and there is no notification when the queue of
-- PostgreSQL is half full, for that would fail the commit.
CREATE OR REPLACE FUNCTION pulpit.put(
    its_subject text, its_object uuid, its_phase text, its_task uuid, its_data jsonb, is_made_up boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    its_id bigint;
BEGIN
    INSERT INTO pulpit.outbox (subject, object, phase, task, data, made_up)
        VALUES (its_subject, its_object, its_phase, its_task, its_data, is_made_up)
        ON CONFLICT (object, phase) DO NOTHING RETURNING id INTO its_id;
    IF its_id IS NULL THEN
        RETURN false;
    END IF;
    IF its_id % 256 = 0 THEN
        UPDATE pulpit.attachment a SET is_full = true
            WHERE its_id - (SELECT min(o.id) FROM pulpit.outbox o WHERE o.taken_at IS NULL) >= a.most_waiting;
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
        'version', pulpit.version(known.repository_version_id, NULL),
        'state', CASE its_phase WHEN 'finish' THEN 'completed' END), is_made_up);
END $$;

-- Write down the state of a task, and at its end what of its publications was not told yet.
CREATE OR REPLACE FUNCTION pulpit.note_task(its_row jsonb, is_made_up boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    own uuid := its_row ->> 'pulp_id';
    its_state text := its_row ->> 'state';
    its_kind text := pulpit.kind(its_row ->> 'name');
    its_phase text := CASE WHEN its_state IN ('completed', 'failed', 'canceled', 'skipped') THEN 'finish'
                           WHEN its_state = 'running' THEN 'start'
                           WHEN its_state = 'waiting' THEN 'waiting' END;
    wants record;
    made jsonb;
    told jsonb := '{}';
BEGIN
    SELECT a.every_task, a.is_full INTO wants FROM pulpit.attachment a;
    IF its_phase IS NULL
        OR NOT wants.every_task AND (its_phase = 'waiting' OR its_phase = 'start' AND its_kind = 'other') THEN
        RETURN false;
    ELSIF wants.is_full THEN
        RAISE EXCEPTION 'too many rows wait for the reader';
    END IF;
    BEGIN
        IF its_phase = 'finish' THEN  -- it is called what it was called at its start, and Pulp's tables are spared
            SELECT o.data INTO told FROM pulpit.outbox o WHERE o.object = own AND o.phase = 'start';
            made := pulpit.created(own, told -> 'repository');
            IF its_kind = 'other' AND NOT wants.every_task AND told IS NULL
                AND NOT jsonb_path_exists(made, '$[*].version.id')
                AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = own)
                AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.task = own AND o.subject = 'publication') THEN
                RETURN false;
            END IF;
            IF its_kind <> 'publish' THEN
                IF jsonb_path_exists(made, '$[*].publication.complete') THEN
                    PERFORM pulpit.note_publication((m ->> 'id')::uuid, 'finish', is_made_up)
                        FROM jsonb_path_query(made, '$[*] ? (@.publication.complete == true)') AS m;
                END IF;
                PERFORM pulpit.put('publication', o.object, 'finish', own,
                        o.data || jsonb_build_object('task', pulpit.slim(its_row), 'state', its_state), is_made_up)
                    FROM pulpit.outbox o WHERE o.task = own AND o.subject = 'publication' AND o.phase = 'start';
            END IF;
        END IF;
        IF told -> 'repository' IS NULL THEN
            told := coalesce(told, '{}') || pulpit.reserved(its_row);
        END IF;
        IF its_phase = 'finish' THEN
            told := told || jsonb_build_object('created', nullif(made, '[]'), 'progress', pulpit.progress(own));
        END IF;
    EXCEPTION WHEN OTHERS THEN
        told := coalesce(told, '{}');
        RAISE WARNING 'pulpit: an event will say less: %', SQLERRM;
    END;
    told := told || jsonb_build_object('task', pulpit.slim(its_row));
    RETURN pulpit.put('task', own, its_phase, own, told, is_made_up);
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_task() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_noted boolean;
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state IS DISTINCT FROM NEW.state THEN
        is_noted := pulpit.note_task(to_jsonb(NEW), false);  -- an assignment takes half as long as PERFORM
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

-- Make up for what failing open has cost: tasks that run or have ended, of which no row tells. Who calls this has taken all
-- rows before, so that the outbox is not full any more. Only those created or finished since the moment are looked at, by
-- indexes of Pulp's.
CREATE OR REPLACE FUNCTION pulpit.reconcile(created_since timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    UPDATE pulpit.attachment SET is_full = false WHERE is_full;
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

DROP FUNCTION IF EXISTS pulpit.outcome(uuid), pulpit.version(uuid), pulpit.created(uuid);  -- of versions 1 and 2
INSERT INTO pulpit.attachment AS a (version) VALUES (3) ON CONFLICT (only_one) DO UPDATE SET version = 3;

DROP TRIGGER IF EXISTS pulpit_task ON @pulp@.core_task;
CREATE TRIGGER pulpit_task AFTER INSERT OR UPDATE ON @pulp@.core_task FOR EACH ROW EXECUTE FUNCTION pulpit.on_task();
DROP TRIGGER IF EXISTS pulpit_created ON @pulp@.core_createdresource;
CREATE TRIGGER pulpit_created AFTER INSERT ON @pulp@.core_createdresource
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_created();
DROP TRIGGER IF EXISTS pulpit_publication ON @pulp@.core_publication;
CREATE TRIGGER pulpit_publication AFTER UPDATE ON @pulp@.core_publication
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_publication();
