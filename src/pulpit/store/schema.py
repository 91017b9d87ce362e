"""Every table, defined once; a test proves that the migrations produce the same.

Conditions of indexes are given for SQLite alone, although the migrations have them for PostgreSQL too: naming
PostgreSQL here would import its dialect at every start.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from pulpit.store.columns import Json, Serial, Time

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

events = Table(
    "events",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("id", String(36), nullable=False),
    Column("event_type", String(200), nullable=False),
    Column("repo_id", String(255)),
    Column("repo_number", BigInteger),
    Column("result", String(20)),
    Column("occurred_at", Time, nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("body", Text, nullable=False),
)
"""Every page that an event changes is written to disk, so there is no index of the ids, which no query uses, and no
AUTOINCREMENT: SQLite continues from the newest number, and `event_log.forget` always keeps that row."""

event_counters = Table(
    "event_counters",
    metadata,
    Column("repo_id", String(255), primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)
"""The last number of each repository's events; on SQLite the trigger writes it."""

KEEP_COUNTER = """
CREATE TRIGGER keep_counter AFTER INSERT ON events WHEN new.repo_number IS NOT NULL
BEGIN
    INSERT INTO event_counters (repo_id, last_number) VALUES (new.repo_id, new.repo_number)
    ON CONFLICT (repo_id) DO UPDATE SET last_number = excluded.last_number;
END
"""

listeners = Table(
    "listeners",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("notifier_type_id", String(20), nullable=False),
    Column("notifier_config", Json, nullable=False),
    Column("event_types", Json, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("repo_ids", Json),
    Column("results", Json),
    Column("packages", Json),
    Column("give_up_after", Integer, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("pause_reason", Text),
    Column("position", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("1")),
    Column("replay_from", BigInteger),
    Column("replay_to", BigInteger),
    Column("replay_types", Json),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", Time),
    Column("last_error", Text),
    Column("last_error_at", Time),
    Column("lease_owner", String(255)),
    Column("lease_until", Time),
    Column("owner", String(255)),
    Column("visible", Json),
    Column("ahead", Json),
)

servers = Table(
    "servers",
    metadata,
    Column("node", String(255), primary_key=True),
    Column("seen_at", Time, nullable=False),
    Column("instance", String(32)),
    Column("home", String(255)),
    Column("storage", String(64)),
    Column("delivers", Boolean, nullable=False, server_default=text("true")),
    Column("version", String(64)),
    Column("clock_ahead", Float),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("touched_at", Time, nullable=False),
)

upload_pieces = Table(
    "upload_pieces",
    metadata,
    Column("upload_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

shared_secrets = Table(
    "shared_secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("content", Text, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("listener_id", String(24), ForeignKey("listeners.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event_number", BigInteger, nullable=False),
    Column("recipient", Text),
    Column("refused_at", Time, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("send_again", Boolean, nullable=False, server_default=text("false")),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("listener_id", String(24), ForeignKey("listeners.id", ondelete="CASCADE"), nullable=False),
    Column("at", Time, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("first_event", BigInteger, nullable=False),
    Column("last_event", BigInteger, nullable=False),
    Column("event_count", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Index("ix_deliveries_listener_id_number", "listener_id", "number"),
    sqlite_autoincrement=True,
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("object_id", String(24), nullable=False, unique=True),
    Column("display_name", Text),
    Column("description", Text),
    Column("notes", Json, nullable=False),
    Column("scratchpad", Json, nullable=False),
    Column("last_unit_added", Time),
    Column("last_unit_removed", Time),
    Column("created_at", Time, nullable=False),
    Column("last_publication", Integer, nullable=False, server_default=text("0")),
    Column("changes_from", BigInteger, nullable=False, server_default=text("0")),
)

repository_groups = Table(
    "repository_groups",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("object_id", String(24), nullable=False, unique=True),
    Column("display_name", Text),
    Column("description", Text),
    Column("notes", Json, nullable=False),
)

repository_group_members = Table(
    "repository_group_members",
    metadata,
    Column("group_id", String(255), ForeignKey("repository_groups.id", ondelete="CASCADE"), primary_key=True),
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True, index=True),
)

importers = Table(
    "importers",
    metadata,
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("object_id", String(24), nullable=False, unique=True),
    Column("importer_type_id", String(255), nullable=False),
    Column("config", Json, nullable=False),
    Column("scratchpad", Json),
    Column("last_sync", Time),
    Column("last_updated", Time, nullable=False),
)

distributors = Table(
    "distributors",
    metadata,
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("object_id", String(24), nullable=False, unique=True),
    Column("distributor_type_id", String(255), nullable=False),
    Column("auto_publish", Boolean, nullable=False),
    Column("config", Json, nullable=False),
    Column("scratchpad", Json),
    Column("last_publish", Time),
    Column("last_updated", Time, nullable=False),
)

publications = Table(
    "publications",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("distributor_id", String(255), nullable=False),
    Column("distributor_object_id", String(24), nullable=False, index=True),
    Column("created_at", Time, nullable=False),
    Column("inventory", String(64), nullable=False),
    Column("content", String(64), nullable=False),
    Column("file_count", Integer, nullable=False),
    Column("byte_count", BigInteger, nullable=False),
    Column("unit_counts", Json, nullable=False),
    Column("made_of", Json),
    Column("pinned", Boolean, nullable=False, server_default=text("false")),
    Column("last_event", BigInteger, nullable=False, server_default=text("0")),
    Column("layout", String(64)),
    Index("uq_publications_repo_id_number", "repo_id", "number", unique=True),
)

places = Table(
    "places",
    metadata,
    Column("path", Text, primary_key=True),
    Column("publication_id", String(24), ForeignKey("publications.id"), nullable=False, index=True),
    Column("distributor_object_id", String(24), nullable=False, index=True),
    Column("shown_at", Time, nullable=False),
    Column("promoted", Boolean, nullable=False, server_default=text("false")),
    Column("only_promoted", Boolean, nullable=False, server_default=text("false")),
)

former_publications = Table(
    "former_publications",
    metadata,
    Column("path", Text, primary_key=True),
    Column("publication_id", String(24), ForeignKey("publications.id", ondelete="CASCADE"), primary_key=True),
    Column("hidden_at", Time, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Time, nullable=False),
)

units = Table(
    "units",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("type_id", String(64), nullable=False),
    Column("key_digest", String(64), nullable=False),
    Column("key", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("detail", LargeBinary),
    Column("created_at", Time, nullable=False),
    Column("user_metadata", Json),
    Index("uq_units_type_id_key_digest", "type_id", "key_digest", unique=True),
)

unit_files = Table(
    "unit_files",
    metadata,
    Column("unit_id", String(24), ForeignKey("units.id", ondelete="CASCADE"), primary_key=True),
    Column("relative_path", Text, primary_key=True),
    Column("sha256", String(64), ForeignKey("artifacts.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
)

associations = Table(
    "associations",
    metadata,
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("unit_id", String(24), ForeignKey("units.id"), primary_key=True, index=True),
    Column("unit_type_id", String(64), nullable=False),
    Column("slot", Text),
    Column("created", Time, nullable=False),
    Column("updated", Time, nullable=False),
    Column("withdrawn", String(20)),
    Index("uq_associations_slot", "repo_id", "unit_type_id", "slot", unique=True),
)
Index(
    "ix_associations_withdrawn",
    associations.c.repo_id,
    sqlite_where=associations.c.withdrawn.is_not(None),
)

change_sets = Table(
    "change_sets",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("repo_id", String(255), nullable=False),
    Column("task_id", String(36), nullable=False, index=True),
    Column("event_number", BigInteger, index=True),
    Column("added", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Column("replaced", Integer, nullable=False),
    Index("ix_change_sets_repo_id_event_number", "repo_id", "event_number"),
)

changes = Table(
    "changes",
    metadata,
    Column("set_id", BigInteger, ForeignKey("change_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("change", String(10), nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Json, nullable=False),
    Column("before", Json),
)

tasks = Table(
    "tasks",
    metadata,
    Column("object_id", String(24), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("task_type", String(255), nullable=False),
    Column("arguments", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("resource", String(300)),
    Column("state", String(20), nullable=False),
    Column("principal_login", String(255)),
    Column("parent_id", String(36)),
    Column("worker_name", String(255)),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Time, nullable=False),
    Column("start_time", Time),
    Column("finish_time", Time),
    Column("progress_report", Json, nullable=False),
    Column("result", Json),
    Column("error", Json),
    Column("spawned", Json, nullable=False),
    Column("schedule_id", String(24)),
    Index("ix_tasks_state_object_id", "state", "object_id"),
)
Index(
    "uq_tasks_running_resource",
    tasks.c.resource,
    unique=True,
    sqlite_where=tasks.c.state == "running",
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("repo_id", String(255), ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("action", String(20), nullable=False),
    Column("plugin_id", String(255), nullable=False),
    Column("schedule", String(100), nullable=False),
    Column("override_config", Json, nullable=False),
    Column("principal_login", String(255)),
    Column("enabled", Boolean, nullable=False),
    Column("failure_threshold", Integer),
    Column("consecutive_failures", Integer, nullable=False, server_default=text("0")),
    Column("first_run", Time, nullable=False),
    Column("next_run", Time, nullable=False),
    Column("remaining_runs", Integer),
    Column("total_run_count", Integer, nullable=False, server_default=text("0")),
    Column("last_run_at", Time),
    Column("last_task_id", String(36)),
    Column("last_updated", Time, nullable=False),
    Index("ix_schedules_repo_id_action", "repo_id", "action"),
    Index("ix_schedules_enabled_next_run", "enabled", "next_run"),
)

history = Table(
    "history",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("repo_id", String(255), nullable=False),
    Column("plugin_id", String(255), nullable=False),
    Column("plugin_type_id", String(255), nullable=False),
    Column("task_id", String(36), nullable=False, index=True),
    Column("started", Time, nullable=False),
    Column("completed", Time),
    Column("result", String(20)),
    Column("added_count", Integer),
    Column("updated_count", Integer),
    Column("removed_count", Integer),
    Column("summary", Json),
    Column("details", Json),
    Column("error_message", Text),
    Column("exception", Text),
    Column("traceback", Json),
    Index("ix_history_repo_id_kind", "repo_id", "kind", "id"),
)

users = Table(
    "users",
    metadata,
    Column("login", String(255), primary_key=True),
    Column("object_id", String(24), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("repo_ids", Json),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("login", String(255), ForeignKey("users.login", ondelete="CASCADE"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    Index("uq_tokens_login_name", "login", "name", unique=True),
)

consumers = Table(
    "consumers",
    metadata,
    Column("login", String(255), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("acknowledged_at", Time),
)

hooks = Table(
    "hooks",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("provider", String(20), nullable=False),
    Column("secret", Text, nullable=False),
    Column("fires", String(200), nullable=False),
    Column("repo_id", String(255)),
    Column("starts_sync", String(255)),
    Column("only", Json),
    Column("created_at", Time, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("last_received_at", Time),
    Column("last_problem", Text),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("answer", Json, nullable=False),
    Column("created_at", Time, nullable=False, index=True),
)

pulp3_work = Table(
    "pulp3_work",
    metadata,
    Column("source", String(32), primary_key=True),
    Column("object_id", String(36), primary_key=True),
    Column("task_id", String(36), nullable=False),
    Column("data", Json, nullable=False),
    Column("seen_at", Time, nullable=False),
    Column("started_at", Time),
    Column("ended_at", Time),
    Index("ix_pulp3_work_ended_at_seen_at", "ended_at", "seen_at"),
)
