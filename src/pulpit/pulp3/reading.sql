-- What the reader calls: it completes rows of the outbox by what their ids stand for, and makes up for rows that are missing.

-- A repository, a remote or a domain as it was called when a row was written; if it was gone by then, as it was called last.
CREATE OR REPLACE FUNCTION pulpit.named(wanted uuid, since bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    now_on constant bigint := 9223372036854775807;
    known record;
BEGIN
    SELECT n.* INTO known FROM (
            SELECT f.until, f.name, f.type, f.domain FROM pulpit.former f WHERE f.object = wanted
            UNION ALL SELECT now_on, r.name, r.pulp_type, r.pulp_domain_id FROM @pulp@.core_repository r
                WHERE r.pulp_id = wanted
            UNION ALL SELECT now_on, r.name, r.pulp_type, r.pulp_domain_id FROM @pulp@.core_remote r
                WHERE r.pulp_id = wanted
            UNION ALL SELECT now_on, d.name, NULL, NULL FROM @pulp@.core_domain d WHERE d.pulp_id = wanted
        ) AS n ORDER BY n.until < since, abs(n.until - since) LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('id', wanted, 'name', known.name, 'type', known.type,
                              'domain', pulpit.named(known.domain, since) -> 'name');
END $$;

-- The repository, the remote and the domain of a task, by the PRNs that it has reserved or, in older versions, by hrefs. Of
-- several repositories it is the first one that the task does not share: those that it has made itself come after it, such
-- as the hidden ones of a distribution tree.
CREATE OR REPLACE FUNCTION pulpit.reserved(its_data jsonb, since bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    its_name text;
    known jsonb;
    told jsonb := jsonb_build_object('domain', pulpit.named((its_data ->> 'domain_id')::uuid, since) -> 'name');
BEGIN
    FOR its_name IN SELECT r FROM jsonb_array_elements_text(nullif(its_data -> 'reserved', 'null')) WITH ORDINALITY AS e (r, n)
        ORDER BY starts_with(r, 'shared:'), n LOOP
        known := pulpit.named(substring(its_name FROM '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')::uuid, since);
        IF known IS NULL THEN
            CONTINUE;
        ELSIF its_name LIKE '%repositor%' AND its_name NOT LIKE '%repositoryversion%' AND NOT told ? 'repository' THEN
            told := told || jsonb_build_object('repository', known, 'repository_prn', substring(its_name FROM 'prn:.*'));
        ELSIF its_name LIKE '%remote%' AND NOT told ? 'remote' THEN
            told := told || jsonb_build_object('remote', known - 'domain');
        END IF;
    END LOOP;
    RETURN told;
END $$;

-- A version with its repository, which is mostly the one that is known; null if there is none.
CREATE OR REPLACE FUNCTION pulpit.of_repository(version jsonb, known jsonb, since bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF version ->> 'repository_id' = known ->> 'id' THEN
        RETURN version || jsonb_build_object('repository', known);
    END IF;
    RETURN version || jsonb_build_object('repository', pulpit.named((version ->> 'repository_id')::uuid, since));
END $$;

-- What a row says, with all that its ids stand for.
CREATE OR REPLACE FUNCTION pulpit.whole(its pulpit.outbox) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    begun pulpit.outbox;
    since bigint := its.id;
    told jsonb := its.data - '{reserved,domain_id,content_type}'::text[];
    made jsonb;
BEGIN
    IF NOT its.data ? 'reserved' THEN  -- written by a trigger of version 3, which has looked up all of it itself
        RETURN its.data;
    END IF;
    IF its.phase = 'finish' THEN  -- it is called what it was called at its start
        SELECT * INTO begun FROM pulpit.outbox o WHERE o.object = its.object AND o.phase = 'start';
        since := coalesce(begun.id, since);
    END IF;
    IF its.subject = 'publication' THEN
        RETURN told || jsonb_build_object('version', pulpit.of_repository(its.data -> 'version', NULL, since)) || (
            SELECT jsonb_build_object('app', y.app_label, 'model', y.model)
            FROM @pulp@.django_content_type y WHERE y.id = (its.data ->> 'content_type')::int);
    END IF;
    told := CASE WHEN begun.data ? 'repository' THEN begun.data
                 ELSE pulpit.reserved(coalesce(begun.data, its.data), since) END || told;
    IF its.phase <> 'finish' THEN
        RETURN told;
    END IF;
    made := its.data -> 'created';
    IF made IS NULL THEN
        SELECT m INTO made FROM pulpit.created(its.object) AS m;
    END IF;
    SELECT jsonb_agg(CASE m -> 'publication' WHEN 'null' THEN m ELSE m || jsonb_build_object(
                'publication', m -> 'publication' || jsonb_build_object('version', m -> 'version'), 'version', NULL) END)
        INTO made FROM (
            SELECT m || jsonb_build_object('app', y.app_label, 'model', y.model, 'version', pulpit.of_repository(
                nullif(m -> 'version', 'null'), told -> 'repository', since)) AS m
            FROM jsonb_array_elements(nullif(made, 'null')) AS m
            LEFT JOIN @pulp@.django_content_type y ON y.id = (m ->> 'content_type')::int
        ) AS m;
    RETURN told || jsonb_build_object('created', made, 'progress', (
        SELECT jsonb_agg(jsonb_build_object('message', p.message, 'code', p.code, 'state', p.state, 'total', p.total,
                                            'done', p.done))
        FROM (
            SELECT * FROM @pulp@.core_progressreport r WHERE r.task_id = its.task ORDER BY r.pulp_created LIMIT 100
        ) AS p));
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pulpit: an event will say less: %', SQLERRM;
    RETURN told;
END $$;

-- Write down how it stands with a task now.
CREATE OR REPLACE FUNCTION pulpit.note_again(its_task uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT pulpit.note_task(t.pulp_id, t.name, t.state, pulpit.facts(
            t.pulp_id, t.name, t.state, t.error, t.logging_cid, t.pulp_created, t.started_at, t.finished_at,
            t.parent_task_id, t.task_group_id, t.pulp_domain_id, t.reserved_resources_record), true)
        FROM @pulp@.core_task t WHERE t.pulp_id = its_task);
END $$;

-- Make up for what failing open has cost: tasks that run or have ended, of which no row tells. Who calls this has taken all
-- rows before, so that the outbox is not full any more. Only those created or finished since the moment are looked at, by
-- indexes of Pulp's.
CREATE OR REPLACE FUNCTION pulpit.reconcile(created_since timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    UPDATE pulpit.attachment SET is_full = false WHERE is_full;
    SELECT count(*) FILTER (WHERE pulpit.note_again(missing.pulp_id)) INTO made FROM (
        SELECT t.pulp_id
        FROM @pulp@.core_task t, pulpit.attachment a
        WHERE t.pulp_created > created_since AND t.state IN ('completed', 'failed', 'canceled')
            AND t.finished_at BETWEEN a.attached_at AND clock_timestamp() - interval '5 seconds'
            AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = t.pulp_id AND o.phase = 'finish')
        UNION ALL
        SELECT t.pulp_id
        FROM @pulp@.core_task t, pulpit.attachment a
        WHERE t.state = 'running' AND t.started_at BETWEEN a.attached_at AND clock_timestamp() - interval '5 seconds'
            AND NOT EXISTS (SELECT FROM pulpit.outbox o WHERE o.object = t.pulp_id AND o.phase = 'start')
    ) AS missing;
    UPDATE pulpit.attachment SET reconciled_at = clock_timestamp(), reconciled = reconciled + made;
    RETURN made;
END $$;

-- All of it belongs to the owner of Pulp's tables, whoever attaches: who makes a backup of Pulp may read Pulp's tables, and
-- pg_dump stops at one that he may not read.
DO $$
DECLARE
    its_owner constant regrole := (SELECT relowner FROM pg_class WHERE oid = '@pulp@.core_task'::regclass);
    thing text;
BEGIN
    FOR thing IN
        SELECT 'SCHEMA pulpit' FROM pg_namespace WHERE nspname = 'pulpit' AND nspowner <> its_owner
        UNION ALL SELECT format('TABLE %s', oid::regclass) FROM pg_class
            WHERE relnamespace = 'pulpit'::regnamespace AND relkind = 'r' AND relowner <> its_owner
        UNION ALL SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
            WHERE pronamespace = 'pulpit'::regnamespace AND proowner <> its_owner
    LOOP
        EXECUTE format('ALTER %s OWNER TO %s', thing, its_owner);
    END LOOP;
END $$;
