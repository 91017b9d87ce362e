-- What Pulpit keeps in the database of a Pulp 3: an outbox, and triggers that write into it. All of it is in the schema
-- `pulpit` but the triggers; @pulp@ stands for the schema of Pulp's own tables.
--
-- A task's trigger writes down what the task's own row says, and what may be gone a moment later: versions with their
-- counts, and publications. The rest is ids, which the reader has looked up by pulpit.whole() of reading.sql. Names stay
-- right all the same: who renames or deletes a repository, a remote or a domain leaves its name in pulpit.former.
--
-- Rules: no trigger names a column of Pulp's (a migration could not alter it any more), nothing refers to Pulp's tables by a
-- foreign key, and whatever goes wrong in here is a warning: Pulp's own statement must succeed, and waits no longer than a
-- second for somebody who has locked the outbox. What a failure has cost is made up for by pulpit.reconcile(). Every
-- statement can be run again.
--
-- A task of Pulp's is a process with a session of its own, where PostgreSQL has to compile and plan all of it first. So a
-- task's trigger has few statements and small functions; those in SQL are such as it puts in line.

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

-- What a repository, a remote or a domain was called until a row of the outbox.
CREATE TABLE IF NOT EXISTS pulpit.former (
    object uuid NOT NULL,
    until bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name text NOT NULL,
    type text,
    domain uuid,
    PRIMARY KEY (object, until)
);

-- What a version has added, removed and present as it was made. Pulp counts anew when it drops the version before, which it
-- does within the same sync where few are to be kept, and what that had added counts as added by the next one then.
CREATE TABLE IF NOT EXISTS pulpit.counted (
    version uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    counts jsonb NOT NULL
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
DROP INDEX IF EXISTS pulpit.outbox_task;  -- of version 2
CREATE INDEX IF NOT EXISTS outbox_publication ON pulpit.outbox (task) WHERE subject = 'publication';

-- What a task is for, by the names that the content plug-ins have in common.
CREATE OR REPLACE FUNCTION pulpit.kind(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name LIKE '%.synchronize' OR name LIKE '%.sync' THEN 'sync'
                WHEN name LIKE '%.publish' OR name LIKE '%.publish_verbatim' THEN 'publish'
                ELSE 'other' END
$$;

-- Functions of the versions before, some of which returned something else.
DROP FUNCTION IF EXISTS pulpit.outcome(uuid), pulpit.created(uuid, jsonb), pulpit.version(uuid, jsonb), pulpit.version(uuid), pulpit.created(uuid),
    pulpit.slim(jsonb), pulpit.progress(uuid), pulpit.repository(uuid), pulpit.reserved(jsonb),
    pulpit.note_task(jsonb, boolean), pulpit.note_publication(uuid, text, boolean);

-- What of a task may leave: its arguments may hold secrets.
CREATE OR REPLACE FUNCTION pulpit.facts(
    pulp_id uuid, name text, state text, error jsonb, logging_cid text, pulp_created timestamptz, started_at timestamptz,
    finished_at timestamptz, parent_task_id uuid, task_group_id uuid, domain_id uuid, reserved text[]
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('task', jsonb_build_object(
        'pulp_id', pulp_id, 'name', name, 'state', state, 'error', error, 'logging_cid', logging_cid,
        'pulp_created', pulp_created, 'started_at', started_at, 'finished_at', finished_at,
        'parent_task_id', parent_task_id, 'task_group_id', task_group_id), 'domain_id', domain_id, 'reserved', reserved)
$$;

-- A version of a repository. How much it has added, removed and present is sorted by the reader, who cannot ask for it
-- later, for Pulp may keep the last version alone.
CREATE OR REPLACE FUNCTION pulpit.version(wanted uuid) RETURNS SETOF jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('id', v.pulp_id, 'number', v.number, 'complete', v.complete,
            'repository_id', v.repository_id, 'counts', coalesce((
                SELECT c.counts FROM pulpit.counted c WHERE c.version = v.pulp_id
            ), (
                SELECT jsonb_agg(jsonb_build_array(n.count_type, n.content_type, n.count))
                FROM @pulp@.core_repositoryversioncontentdetails n WHERE n.repository_version_id = v.pulp_id
            )))
        FROM @pulp@.core_repositoryversion v WHERE v.pulp_id = wanted
$$;

-- What a task has made, as far as it still exists; the first hundred. Each look goes by a key (OFFSET 0 sees to it): as
-- joins, tables that are small today are read whole.
CREATE OR REPLACE FUNCTION pulpit.created(its_task uuid) RETURNS SETOF jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(jsonb_build_object('id', c.object_id, 'content_type', c.content_type_id, 'publication', p.told,
                                        'version', v.told))
    FROM (
        SELECT * FROM @pulp@.core_createdresource r WHERE r.task_id = its_task ORDER BY r.pulp_created LIMIT 100
    ) AS c LEFT JOIN LATERAL (
        SELECT p.repository_version_id, jsonb_build_object('type', p.pulp_type, 'complete', p.complete) AS told
        FROM @pulp@.core_publication p WHERE p.pulp_id = c.object_id OFFSET 0
    ) AS p ON true LEFT JOIN LATERAL (
        SELECT told FROM pulpit.version(coalesce(p.repository_version_id, c.object_id)) AS told OFFSET 0
    ) AS v ON true
$$;

-- Write a row once and wake the reader. Once `most_waiting` wait, which is looked at now and then, nothing is written any
-- more, so that a reader that never comes back does not fill the disk; and there is no notification when the queue of
-- PostgreSQL is half full, for that would fail the commit.
CREATE OR REPLACE FUNCTION pulpit.put(
    its_subject text, its_object uuid, its_phase text, its_task uuid, its_data jsonb, is_made_up boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    written record;
BEGIN
    INSERT INTO pulpit.outbox (subject, object, phase, task, data, made_up)
        SELECT its_subject, its_object, its_phase, its_task, its_data, is_made_up
        FROM pulpit.attachment a WHERE NOT a.is_full
        ON CONFLICT (object, phase) DO NOTHING
        RETURNING id, CASE WHEN pg_notification_queue_usage() < 0.5 THEN pg_notify('pulpit', '')::text END INTO written;
    IF written.id % 256 = 0 THEN
        UPDATE pulpit.attachment a SET is_full = true
            WHERE written.id - (SELECT min(o.id) FROM pulpit.outbox o WHERE o.taken_at IS NULL) >= a.most_waiting;
        IF FOUND THEN
            RAISE WARNING 'pulpit: too many rows wait for the reader; nothing more is written down';
        END IF;
    END IF;
    RETURN written.id IS NOT NULL;
END $$;

-- Tell, at the end of a task, what of its publications was not told yet: those that are complete, and those that it gave up.
CREATE OR REPLACE FUNCTION pulpit.end_publications(
    its_task uuid, its_state text, its_data jsonb, made jsonb, is_made_up boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pulpit.put('publication', (m ->> 'id')::uuid, 'finish', its_task, its_data || (m - 'publication')
            || jsonb_build_object('type', m #> '{publication,type}', 'state', 'completed'), is_made_up)
        FROM jsonb_array_elements(made) AS m WHERE (m #>> '{publication,complete}')::boolean;
    PERFORM pulpit.put('publication', o.object, 'finish', its_task,
            o.data || its_data || jsonb_build_object('state', its_state), is_made_up)
        FROM pulpit.outbox o WHERE o.task = its_task AND o.subject = 'publication' AND o.phase = 'start';
END $$;

-- Write down the state of a task, and at its end what it has made.
CREATE OR REPLACE FUNCTION pulpit.note_task(own uuid, its_name text, its_state text, its_data jsonb, is_made_up boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    its_kind text := pulpit.kind(its_name);
    made jsonb;
    publishes boolean;
BEGIN
    IF its_state NOT IN ('completed', 'failed', 'canceled', 'skipped') THEN
        IF its_state NOT IN ('running', 'waiting')
            OR (its_kind = 'other' OR its_state = 'waiting') AND NOT (SELECT a.every_task FROM pulpit.attachment a) THEN
            RETURN false;
        END IF;
        RETURN pulpit.put('task', own, CASE its_state WHEN 'running' THEN 'start' ELSE its_state END, own, its_data,
                          is_made_up);
    END IF;
    BEGIN
        SELECT m, m @? '$[*].publication.complete' OR EXISTS (
                SELECT FROM pulpit.outbox o WHERE o.task = own AND o.subject = 'publication')
            INTO made, publishes FROM pulpit.created(own) AS m;
        IF publishes AND its_kind <> 'publish' THEN
            PERFORM pulpit.end_publications(own, its_state, its_data, made, is_made_up);
        ELSIF its_kind = 'other' THEN
            IF made @? '$[*].version.id' IS NOT TRUE AND NOT (SELECT a.every_task FROM pulpit.attachment a)
                AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = own) THEN
                RETURN false;
            END IF;
        END IF;
        its_data := its_data || jsonb_build_object('created', made);
    EXCEPTION WHEN OTHERS THEN  -- the reader looks for it again
        RAISE WARNING 'pulpit: what a task has made was not written down: %', SQLERRM;
    END;
    RETURN pulpit.put('task', own, 'finish', own, its_data, is_made_up);
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_task() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s'
AS $$
DECLARE
    is_noted boolean;
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state IS DISTINCT FROM NEW.state THEN
        is_noted := pulpit.note_task(NEW.pulp_id, NEW.name, NEW.state, pulpit.facts(
            NEW.pulp_id, NEW.name, NEW.state, NEW.error, NEW.logging_cid, NEW.pulp_created, NEW.started_at,
            NEW.finished_at, NEW.parent_task_id, NEW.task_group_id, NEW.pulp_domain_id, NEW.reserved_resources_record
        ), false);  -- an assignment takes half as long as PERFORM
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the state of a task was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

-- A publication has begun, unless a task of its own tells that already.
CREATE OR REPLACE FUNCTION pulpit.on_created() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s'
AS $$
DECLARE
    own record;
BEGIN
    SELECT p.pulp_type, p.repository_version_id INTO own FROM @pulp@.core_publication p WHERE p.pulp_id = NEW.object_id;
    IF FOUND THEN
        PERFORM pulpit.put('publication', NEW.object_id, 'start', NEW.task_id, pulpit.facts(
                t.pulp_id, t.name, t.state, t.error, t.logging_cid, t.pulp_created, t.started_at, t.finished_at,
                t.parent_task_id, t.task_group_id, t.pulp_domain_id, t.reserved_resources_record
            ) || jsonb_build_object('type', own.pulp_type, 'content_type', NEW.content_type_id, 'version', (
                SELECT v FROM pulpit.version(own.repository_version_id) AS v)), false)
            FROM @pulp@.core_task t WHERE t.pulp_id = NEW.task_id AND pulpit.kind(t.name) <> 'publish';
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the beginning of a publication was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_publication() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s'
AS $$
BEGIN
    IF NEW.complete AND NOT OLD.complete THEN
        PERFORM pulpit.put('publication', o.object, 'finish', o.task, o.data || jsonb_build_object('state', 'completed'),
                           false)
            FROM pulpit.outbox o WHERE o.object = NEW.pulp_id AND o.phase = 'start';
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: the end of a publication was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION pulpit.on_counts() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s'
AS $$
BEGIN
    INSERT INTO pulpit.counted (version, counts)
        SELECT m.repository_version_id, jsonb_agg(jsonb_build_array(m.count_type, m.content_type, m.count))
        FROM made AS m GROUP BY m.repository_version_id
        ON CONFLICT (version) DO NOTHING;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: what a version has changed was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

-- A repository, a remote or a domain has lost its name, which rows that wait are to be told by.
CREATE OR REPLACE FUNCTION pulpit.on_name() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET lock_timeout = '1s'
AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.name IS DISTINCT FROM NEW.name THEN
        INSERT INTO pulpit.former (object, until, name, type, domain)
            SELECT OLD.pulp_id, nextval('pulpit.outbox_id_seq'), OLD.name, its ->> 'pulp_type',
                   (its ->> 'pulp_domain_id')::uuid
            FROM pulpit.attachment a, to_jsonb(OLD) AS its WHERE NOT a.is_full;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: a name was not written down: %', SQLERRM;
    RETURN NULL;
END $$;

INSERT INTO pulpit.attachment AS a (version) VALUES (5) ON CONFLICT (only_one) DO UPDATE SET version = 5;

DROP TRIGGER IF EXISTS pulpit_task ON @pulp@.core_task;
CREATE TRIGGER pulpit_task AFTER INSERT OR UPDATE ON @pulp@.core_task FOR EACH ROW EXECUTE FUNCTION pulpit.on_task();
DROP TRIGGER IF EXISTS pulpit_created ON @pulp@.core_createdresource;
CREATE TRIGGER pulpit_created AFTER INSERT ON @pulp@.core_createdresource
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_created();
DROP TRIGGER IF EXISTS pulpit_publication ON @pulp@.core_publication;
CREATE TRIGGER pulpit_publication AFTER UPDATE ON @pulp@.core_publication
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_publication();
DROP TRIGGER IF EXISTS pulpit_repository ON @pulp@.core_repository;
CREATE TRIGGER pulpit_repository AFTER UPDATE OR DELETE ON @pulp@.core_repository
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_name();
DROP TRIGGER IF EXISTS pulpit_remote ON @pulp@.core_remote;
CREATE TRIGGER pulpit_remote AFTER UPDATE OR DELETE ON @pulp@.core_remote
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_name();
DROP TRIGGER IF EXISTS pulpit_domain ON @pulp@.core_domain;
CREATE TRIGGER pulpit_domain AFTER UPDATE OR DELETE ON @pulp@.core_domain
    FOR EACH ROW EXECUTE FUNCTION pulpit.on_name();
DROP TRIGGER IF EXISTS pulpit_counts ON @pulp@.core_repositoryversioncontentdetails;
CREATE TRIGGER pulpit_counts AFTER INSERT ON @pulp@.core_repositoryversioncontentdetails
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION pulpit.on_counts();
