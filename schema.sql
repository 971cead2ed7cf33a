-- clawd's whole schema. Numbered migrations in migrations/ lead an older database here; a test
-- proves that both roads end in the same place. Text is capped and scrubbed before it arrives.
-- Times come from clawd_now() only, so that tests can set the clock.

create table schema_migration (
  version    integer primary key,
  name       text not null,
  sha256     text not null,
  applied_at timestamptz not null default clock_timestamp(),
  app        text not null
);

create function clawd_now() returns timestamptz language sql volatile as $$
  select coalesce(nullif(current_setting('clawd.now', true), '')::timestamptz, clock_timestamp())
$$;

-- >>> transitions (generated from clawd/machine.py)
create function clawd_task_next(state text, event text) returns text
  language sql immutable parallel safe as $$
  select '{
    "backlog claim": "claimed",
    "backlog park": "parked",
    "backlog cancel": "cancelled",
    "claimed start": "running",
    "claimed yield": "backlog",
    "claimed lose": "backlog",
    "claimed fail": "backlog",
    "claimed give_up": "parked",
    "claimed cancel": "cancelled",
    "running finish": "review",
    "running deliver": "verifying",
    "running ask": "waiting",
    "running hold": "waiting",
    "running fail": "backlog",
    "running give_up": "parked",
    "running yield": "backlog",
    "running lose": "backlog",
    "running cancel": "cancelled",
    "review claim": "review",
    "review yield": "review",
    "review lose": "review",
    "review fail": "review",
    "review check_red": "backlog",
    "review revise": "backlog",
    "review bounce": "backlog",
    "review pass": "merging",
    "review no_change": "verifying",
    "review hold": "waiting",
    "review give_up": "parked",
    "review cancel": "cancelled",
    "merging land": "verifying",
    "merging bounce": "backlog",
    "merging review": "review",
    "merging hold": "waiting",
    "merging give_up": "parked",
    "merging cancel": "cancelled",
    "waiting resume_dev": "backlog",
    "waiting resume_review": "review",
    "waiting resume_merge": "merging",
    "waiting resume_proof": "verifying",
    "waiting deny": "parked",
    "waiting expire": "parked",
    "waiting cancel": "cancelled",
    "verifying prove": "done",
    "verifying miss": "waiting",
    "verifying redo": "backlog",
    "verifying give_up": "parked",
    "verifying revert": "rolled_back",
    "done revert": "rolled_back",
    "parked retry": "backlog",
    "parked cancel": "cancelled",
    "cancelled reopen": "backlog"
  }'::jsonb ->> (state || ' ' || event) $$;
create function clawd_goal_next(state text, event text) returns text
  language sql immutable parallel safe as $$
  select '{
    "seen plan": "planning",
    "seen ask": "blocked",
    "seen withdraw": "withdrawn",
    "seen finish": "done",
    "planning planned": "planned",
    "planning refuse": "planning",
    "planning fail": "planning",
    "planning yield": "planning",
    "planning give_up": "blocked",
    "planning ask": "blocked",
    "planning edit": "seen",
    "planning withdraw": "withdrawn",
    "planning finish": "done",
    "blocked edit": "seen",
    "blocked answer": "seen",
    "blocked withdraw": "withdrawn",
    "blocked finish": "done",
    "planned finish": "done",
    "planned edit": "seen",
    "planned withdraw": "withdrawn",
    "done redo": "planned",
    "done reopen": "seen",
    "withdrawn reappear": "seen"
  }'::jsonb ->> (state || ' ' || event) $$;
create function clawd_run_next(state text, event text) returns text
  language sql immutable parallel safe as $$
  select '{
    "created load": "context_loaded",
    "created execute": "executing",
    "created complete": "completed",
    "created fail": "failed",
    "created cancel": "cancelled",
    "created fence": "fenced",
    "created lose": "lost",
    "context_loaded execute": "executing",
    "context_loaded complete": "completed",
    "context_loaded fail": "failed",
    "context_loaded cancel": "cancelled",
    "context_loaded fence": "fenced",
    "context_loaded lose": "lost",
    "executing complete": "completed",
    "executing fail": "failed",
    "executing cancel": "cancelled",
    "executing fence": "fenced",
    "executing lose": "lost"
  }'::jsonb ->> (state || ' ' || event) $$;
-- <<< transitions

-- ---------------------------------------------------------------- who and where

create table host (
  name    text primary key,
  boot_id text not null,
  labels  text[] not null default '{}',
  slots   integer not null default 4,
  beat    timestamptz not null
) with (fillfactor = 50);

-- Leader duties are rows with an epoch, never session locks: a pooler would strand those.
create table duty (
  name  text primary key,
  host  text not null,
  epoch bigint not null default 1,
  until timestamptz not null
) with (fillfactor = 50);

create table pause (
  scope  text not null check (scope in ('all', 'project', 'agent', 'model')),
  key    text not null default '',
  until  timestamptz,
  reason text not null,
  by     text not null,
  at     timestamptz not null default clawd_now(),
  primary key (scope, key)
);

create table breaker (
  scope    text not null,
  key      text not null,
  state    text not null check (state in ('closed', 'open', 'half_open')),
  fails    integer not null default 0,
  probe_at timestamptz,
  primary key (scope, key)
);

create table project (
  id               bigint generated always as identity primary key,
  slug             text not null unique,
  path             text not null,
  main_ref         text not null,
  home_host        text not null,
  state            text not null default 'active' check (state in ('active', 'removed')),
  weight           integer not null default 1 check (weight > 0),
  landing          text not null default 'branch' check (landing in ('follow', 'branch', 'push')),
  test_cmd         text not null default '',
  setup_cmd        text not null default '',
  settings         jsonb not null default '{}',
  roadmap_digest   text not null default '',
  roadmap_problem  text not null default '',
  operator_oid     text not null default '',
  baseline_tree    text not null default '',
  baseline_verdict text not null default 'unknown'
    check (baseline_verdict in ('unknown', 'green', 'red', 'flaky', 'no_command', 'setup_failed')),
  baseline_log     text not null default '',
  landings_held    text not null default '',
  not_followed     text not null default '',
  chain_head       text not null default '',
  created_at       timestamptz not null default clawd_now()
);

create table goal (
  id         bigint generated always as identity primary key,
  project    bigint not null references project,
  ident      text not null,
  state      text not null default 'seen',
  last_event text not null default 'see',
  title      text not null,
  body       text not null default '',
  section    text not null default '',
  digest     text not null,
  line       integer not null default 0,
  priority   integer not null default 100,
  spec       jsonb not null default '{}',
  plan_tries integer not null default 0,
  not_before timestamptz,
  reason     text not null default '',
  action     text not null default '',
  owner      text not null default 'clawd',
  done_by    text not null default '',
  ticked     boolean not null default false,
  marked     boolean not null default false,
  chain_head text not null default '',
  created_at timestamptz not null default clawd_now(),
  changed_at timestamptz not null default clawd_now(),
  unique (project, ident)
);
create index goal_open on goal (project, priority, id) where state in ('seen', 'planning');

create table agent (
  id           bigint generated always as identity primary key,
  name         text not null unique,
  role         text not null check (role in ('pm', 'planner', 'dev', 'qa')),
  kind         text not null default 'claude',
  model        text not null default '',
  public_key   text not null default '',
  spec_version integer not null default 1,
  state        text not null default 'active' check (state in ('active', 'resting', 'removed')),
  live_run     bigint,
  last_used    timestamptz
) with (fillfactor = 70);

create table agent_tier (
  agent         bigint not null references agent,
  project       bigint not null references project,
  tier          text not null default 'intern'
    check (tier in ('intern', 'junior', 'senior', 'principal')),
  streak        integer not null default 0,
  fails         integer not null default 0,
  as_of_lineage bigint,
  primary key (agent, project)
);

-- ---------------------------------------------------------------- tasks

create table task (
  id               bigint generated always as identity primary key,
  project          bigint not null references project,
  goal             bigint references goal,
  kind             text not null default 'code' check (kind in ('code', 'job')),
  state            text not null default 'backlog',
  last_event       text not null default 'add',
  title            text not null,
  reason           text not null default '',
  action           text not null default '',
  owner            text not null default 'clawd',
  priority         integer not null default 100,
  front            boolean not null default false,
  queued_at        timestamptz not null default clawd_now(),
  changed_at       timestamptz not null default clawd_now(),
  not_before       timestamptz,
  deps_open        integer not null default 0 check (deps_open >= 0),
  contract_version integer not null default 1,
  fence            bigint not null default 0,
  lease_until      timestamptz,
  leased_by_run    bigint,
  host             text not null default '',
  want_host        text not null default '',
  tries            integer not null default 0,
  round            integer not null default 0,
  bounces          integer not null default 0,
  prefer_agent     bigint,
  prefer_until     timestamptz,
  return_to        text not null default ''
    check (return_to in ('', 'dev', 'review', 'merge', 'proof')),
  candidate        bigint,
  scope            text[] not null default '{}',
  size_minutes     integer not null default 20,
  risk             text not null default 'low' check (risk in ('low', 'medium', 'high')),
  difficulty       text not null default 'normal' check (difficulty in ('easy', 'normal', 'hard')),
  redo_of          bigint references task,
  proof_due        timestamptz,
  idem_key         text,
  mends            boolean not null default false,
  chain_head       text not null default ''
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index task_ready on task (project, front desc, priority, id)
  where state = 'backlog' and deps_open = 0;
create index task_review on task (priority, id) where state = 'review';
create index task_merging on task (project, queued_at, id) where state = 'merging';
create index task_live on task (id)
  where state not in ('done', 'cancelled', 'rolled_back', 'parked', 'backlog');
create index task_held on task (id) where state in ('parked', 'waiting');
create index task_goal on task (goal) where goal is not null;
create unique index task_idem on task (idem_key) where idem_key is not null;

create table contract (
  task    bigint not null references task,
  version integer not null,
  body    jsonb not null,
  digest  text not null,
  by      text not null,
  at      timestamptz not null default clawd_now(),
  primary key (task, version)
);

create table task_dep (
  task  bigint not null references task,
  needs bigint not null references task,
  met   boolean not null default false,
  primary key (task, needs),
  check (task <> needs)
);
create index task_dep_needs on task_dep (needs);

create table run (
  id               bigint generated always as identity primary key,
  task             bigint references task,
  goal             bigint references goal,
  project          bigint not null references project,
  role             text not null check (role in ('pm', 'planner', 'dev', 'qa')),
  agent            bigint not null references agent,
  host             text not null,
  fence            bigint not null,
  resumes          bigint references run,
  state            text not null default 'created',
  last_event       text not null default 'create',
  reason           text not null default '',
  detail           text not null default '',
  charged          boolean not null default false,
  session          text not null default '',
  sup_pid          integer,
  sup_start        text not null default '',
  marker           text not null default '',
  folder           text not null default '',
  cli_version      text not null default '',
  cli_sha          text not null default '',
  model            text not null default '',
  tier             text not null default 'intern',
  network          text not null default 'none' check (network in ('none', 'open', 'gateway')),
  prompt_hash      text not null default '',
  contract_version integer not null default 0,
  base_oid         text not null default '',
  limits           jsonb not null default '{}',
  reserved_micros  bigint not null default 0,
  spent_micros     bigint not null default 0,
  turns            integer not null default 0,
  doing            text not null default '',
  delivered_at     timestamptz,
  created_at       timestamptz not null default clawd_now(),
  started_at       timestamptz,
  ended_at         timestamptz
) with (fillfactor = 70);
create index run_live on run (id) where state in ('created', 'context_loaded', 'executing');
create index run_task on run (task, id) where task is not null;
create index run_goal on run (goal, id) where goal is not null;
alter table task add foreign key (leased_by_run) references run;
alter table agent add foreign key (live_run) references run;

create table candidate (
  id           bigint generated always as identity primary key,
  task         bigint not null references task,
  run          bigint not null references run,
  host         text not null,
  ref          text not null,
  oid          text not null,
  base_oid     text not null,
  tree         text not null,
  patch_digest text not null,
  no_change    boolean not null default false,
  stat         jsonb not null default '{}',
  check_state  text not null default 'due' check (check_state in ('due', 'green', 'red')),
  checks       jsonb not null default '[]',
  at           timestamptz not null default clawd_now(),
  unique (run)
);
create index candidate_task on candidate (task, id);
alter table task add foreign key (candidate) references candidate;

create table verdict (
  id               bigint generated always as identity primary key,
  task             bigint not null references task,
  candidate        bigint not null references candidate,
  run              bigint not null references run,
  contract_version integer not null,
  answer           text not null check (answer in ('pass', 'revise')),
  summary          text not null default '',
  findings         jsonb not null default '[]',
  at               timestamptz not null default clawd_now(),
  unique (run)
);
create index verdict_task on verdict (task, id);

-- A verdict on a tree counts only for the same command in the same set-up layer.
create table test_verdict (
  id         bigint generated always as identity primary key,
  project    bigint not null references project,
  tree       text not null,
  cmd_digest text not null,
  env_digest text not null,
  verdict    text not null check (verdict in ('green', 'red', 'flaky')),
  n          integer not null default 1,
  rc         integer,
  wall_ms    integer not null default 0,
  log        text not null default '',
  output     text not null default '',
  at         timestamptz not null default clawd_now()
);
create index test_verdict_key on test_verdict (project, tree, cmd_digest, env_digest, id desc);

create table landing (
  id        bigint generated always as identity primary key,
  project   bigint not null references project,
  task      bigint not null references task,
  kind      text not null default 'land' check (kind in ('land', 'revert', 'tick')),
  candidate bigint references candidate,
  train     bigint not null default 0,
  old_main  text not null,
  new_main  text not null,
  car       text not null default '',
  tree      text not null,
  state     text not null default 'intent' check (state in ('asked', 'intent', 'landed', 'void')),
  epoch     bigint not null default 0,
  at        timestamptz not null default clawd_now(),
  landed_at timestamptz
);
create unique index landing_once on landing (task, kind) where state <> 'void';
create index landing_main on landing (project, new_main);
create index landing_open on landing (project, id) where state = 'intent';
create index landing_project on landing (project, id);

-- ---------------------------------------------------------------- money

create table envelope (
  scope    text not null check (scope in ('day', 'task', 'project', 'goal')),
  scope_id text not null,
  period   text not null default '',
  starts   timestamptz not null default clawd_now(),
  "limit"  bigint not null,
  spent    bigint not null default 0,
  reserved bigint not null default 0 check (reserved >= 0),
  primary key (scope, scope_id, period)
) with (fillfactor = 50);

create table ledger (
  run        bigint not null references run,
  request_id text not null,
  model      text not null,
  tokens     jsonb not null default '{}',
  micros     bigint not null,
  list_price boolean not null default true,
  source     text not null check (source in ('stream', 'result', 'estimate', 'gateway')),
  at         timestamptz not null default clawd_now(),
  primary key (run, request_id)
);

-- ---------------------------------------------------------------- what waits for a person

create table approval (
  id              bigint generated always as identity primary key,
  task            bigint references task,
  goal            bigint references goal,
  project         bigint references project,
  kind            text not null
    check (kind in ('question', 'protected', 'envelope', 'roadmap', 'dependency', 'proof', 'plan')),
  question        text not null,
  options         jsonb not null default '[]',
  digest          text not null,
  subject         jsonb not null default '{}',
  nonce           text not null default encode(sha256(gen_random_uuid()::text::bytea), 'hex'),
  state           text not null default 'open'
    check (state in ('open', 'approved', 'rejected', 'answered', 'expired', 'void')),
  asked           timestamptz not null default clawd_now(),
  expires         timestamptz,
  by              text not null default '',
  channel         text not null default '',
  answer          text not null default '',
  answered_at     timestamptz,
  used_by_lineage bigint
);
create unique index approval_open on approval
  (coalesce(task, 0), coalesce(goal, 0), coalesce(project, 0), kind, digest) where state = 'open';
create index approval_task on approval (task, id) where task is not null;

-- ---------------------------------------------------------------- proof

create table evidence (
  id            bigint generated always as identity primary key,
  task          bigint references task,
  run           bigint references run,
  kind          text not null,
  claim         text not null,
  check_spec    jsonb not null default '{}',
  digest        text not null default '',
  state         text not null check (state in ('claimed', 'proven', 'refuted', 'stale')),
  checked       timestamptz not null default clawd_now(),
  stale_at      timestamptz,
  due           timestamptz,
  artifact_path text not null default ''
);
create index evidence_task on evidence (task, id);
create index evidence_flaky on evidence (claim, checked) where kind = 'flaky';

create table lineage (
  id          bigint generated always as identity,
  at          timestamptz not null,
  chain       text not null,
  task        bigint,
  goal        bigint,
  run         bigint,
  project     bigint,
  actor       text not null,
  action      text not null,
  subject     text not null,
  why         text not null,
  inputs      jsonb not null default '{}',
  policy      text not null default '',
  version     text not null default '',
  model       text not null default '',
  prompt_hash text not null default '',
  evidence    bigint[] not null default '{}',
  prev        text not null,
  hash        text not null,
  primary key (id, at)
) partition by range (at);
create index lineage_chain on lineage (chain, id);
create table lineage_rest partition of lineage default;

create table history (
  id         bigint generated always as identity primary key,
  kind       text not null check (kind in ('task', 'goal', 'run')),
  subject    bigint not null,
  at         timestamptz not null,
  from_state text not null,
  event      text not null,
  to_state   text not null,
  fence      bigint not null default 0,
  run        bigint,
  actor      text not null,
  reason     text not null default '',
  lineage    bigint not null
);
create index history_subject on history (kind, subject, id);

create table outbox (
  id      bigint generated always as identity primary key,
  channel text not null,
  dedupe  text,
  body    jsonb not null,
  level   text not null default 'feed' check (level in ('feed', 'digest', 'notice', 'needs_you')),
  state   text not null default 'due' check (state in ('due', 'sent', 'dropped')),
  tries   integer not null default 0,
  next_at timestamptz,
  edits   bigint,
  receipt text not null default '',
  at      timestamptz not null default clawd_now()
);
create unique index outbox_dedupe on outbox (channel, dedupe) where dedupe is not null;
create index outbox_due on outbox (channel, id) where state = 'due' and channel <> 'feed';

-- ---------------------------------------------------------------- lineage

-- What a row's hash covers, spelled so that verification in any language can repeat it.
create function clawd_lineage_hash(r lineage) returns text language plpgsql immutable as $$
begin
  return encode(sha256(convert_to(jsonb_build_array(
    r.prev, to_char(r.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US'), r.chain,
    r.task, r.goal, r.run, r.project, r.actor, r.action, r.subject, r.why, r.inputs,
    r.policy, r.version, r.model, r.prompt_hash, r.evidence)::text, 'UTF8')), 'hex');
end $$;

-- One decision, chained to the one before it. The caller holds the row lock of the chain's owner.
create function clawd_chain(p_chain text, p_prev text, p_actor text, p_action text, p_subject text,
  p_why text, p_facts jsonb, p_task bigint, p_goal bigint, p_run bigint, p_project bigint,
  out id bigint, out hash text)
language plpgsql as $$
declare r lineage;
begin
  -- In the order of the table's columns, without id and hash: one expression, not seventeen.
  r := row(null, clawd_now(), p_chain, p_task, p_goal, p_run, p_project, p_actor, p_action,
    p_subject, p_why, coalesce(p_facts -> 'inputs', '{}'), coalesce(p_facts ->> 'policy', ''),
    coalesce(p_facts ->> 'version', ''), coalesce(p_facts ->> 'model', ''),
    coalesce(p_facts ->> 'prompt_hash', ''), '{}'::bigint[], p_prev, null)::lineage;
  if p_facts ? 'evidence' then
    r.evidence := array(select e::bigint from jsonb_array_elements_text(p_facts -> 'evidence') e);
  end if;
  hash := clawd_lineage_hash(r);
  insert into lineage (at, chain, task, goal, run, project, actor, action, subject, why, inputs,
    policy, version, model, prompt_hash, evidence, prev, hash)
  values (r.at, r.chain, r.task, r.goal, r.run, r.project, r.actor, r.action, r.subject, r.why,
    r.inputs, r.policy, r.version, r.model, r.prompt_hash, r.evidence, r.prev, hash)
  returning lineage.id into id;
end $$;

-- The partition of the month that lies p_ahead months ahead, made once.
create function clawd_lineage_partition(p_ahead integer) returns void language plpgsql as $$
declare
  month date := date_trunc('month', clawd_now()) + make_interval(months => p_ahead);
  name text := 'lineage_' || to_char(month, 'YYYYMM');
begin
  if to_regclass(name) is null then
    execute format('create table %I partition of lineage for values from (%L) to (%L)',
      name, month, month + interval '1 month');
  end if;
end $$;

-- A decision that moves no state: it still takes the row lock of its chain's owner.
create function clawd_tell(p_kind text, p_id bigint, p_actor text, p_action text, p_why text,
  p_facts jsonb default '{}', p_run bigint default null) returns bigint
language plpgsql as $$
declare head text; t bigint; g bigint; p bigint; c record;
begin
  if p_kind = 'task' then
    select chain_head, id, goal, project into head, t, g, p from task where id = p_id
      for no key update;
  elsif p_kind = 'goal' then
    select chain_head, id, project into head, g, p from goal where id = p_id
      for no key update;
  elsif p_kind = 'project' then
    select chain_head, id into head, p from project where id = p_id
      for no key update;
  else
    raise exception 'no chain for a %', p_kind using errcode = 'CW003';
  end if;
  if head is null then
    raise exception 'there is no % %', p_kind, p_id using errcode = 'CW003';
  end if;
  c := clawd_chain(p_kind || ':' || p_id, head, p_actor, p_action,
    p_kind || ':' || p_id, p_why, p_facts, t, g, p_run, p);
  if p_kind = 'task' then
    update task set chain_head = c.hash where id = p_id;
  elsif p_kind = 'goal' then
    update goal set chain_head = c.hash where id = p_id;
  else
    update project set chain_head = c.hash where id = p_id;
  end if;
  return c.id;
end $$;

create function clawd_append_only() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'CW004';
end $$;
create trigger lineage_append_only before update or delete on lineage
  for each row execute function clawd_append_only();
create trigger history_append_only before update or delete on history
  for each row execute function clawd_append_only();

-- ---------------------------------------------------------------- moves

create function clawd_guard() returns trigger language plpgsql as $$
declare target text;
begin
  if old.state = new.state then  -- here, since a WHEN clause is parsed anew by every statement
    return new;
  elsif tg_argv[0] = 'task' then
    target := clawd_task_next(old.state, new.last_event);
  elsif tg_argv[0] = 'run' then
    target := clawd_run_next(old.state, new.last_event);
  else
    target := clawd_goal_next(old.state, new.last_event);
  end if;
  if target is distinct from new.state then
    raise exception '% % may not go from % to % by %', tg_argv[0], old.id, old.state, new.state,
      new.last_event using errcode = 'CW002';
  end if;
  return new;
end $$;
create trigger task_guard before update of state on task
  for each row execute function clawd_guard('task');
create trigger goal_guard before update of state on goal
  for each row execute function clawd_guard('goal');
create trigger run_guard before update of state on run
  for each row execute function clawd_guard('run');

create function clawd_born() returns trigger language plpgsql as $$
begin
  if new.state is distinct from tg_argv[0] then
    raise exception 'a % starts as %, not %', tg_table_name, tg_argv[0], new.state
      using errcode = 'CW002';
  end if;
  return new;
end $$;
create trigger task_born before insert on task for each row execute function clawd_born('backlog');
create trigger goal_born before insert on goal for each row execute function clawd_born('seen');
create trigger run_born before insert on run for each row execute function clawd_born('created');

-- The one way a task moves: state, fence, counters, history, lineage and outbox in one statement.
-- p_fence null means by authority (operator, reconcile); else it must be the task's own.
-- p_set overwrites columns of the task; the machine's own columns cannot be set.
create function clawd_move(p_task bigint, p_event text, p_fence bigint, p_actor text, p_why text,
  p_set jsonb default '{}', p_facts jsonb default '{}', p_run bigint default null)
returns task language plpgsql as $$
declare old task;
begin
  select * into old from task where id = p_task for no key update;
  if not found then
    raise exception 'there is no task %', p_task using errcode = 'CW003';
  end if;
  if p_fence is not null and old.fence <> p_fence then
    raise exception 'task % has fence %, the writer holds %', p_task, old.fence, p_fence
      using errcode = 'CW001';
  end if;
  return clawd_write_move(old, jsonb_populate_record(old, p_set), p_event, p_actor, p_why, p_set,
    p_facts, p_run);
end $$;

-- What every move writes. `old` is the locked row, `new` the same with what the caller changes.
create function clawd_write_move(old task, new task, p_event text, p_actor text, p_why text,
  p_set jsonb, p_facts jsonb, p_run bigint) returns task language plpgsql as $$
declare target text; line record; ends_lease boolean; moved boolean;
  moment timestamptz := clawd_now();
begin
  target := clawd_task_next(old.state, p_event);
  if target is null then
    raise exception 'task % is %: % is not possible', old.id, old.state, p_event
      using errcode = 'CW002';
  end if;
  if p_event = 'cancel' and old.state = 'merging'
     and exists (select from landing where task = old.id and state = 'intent') then
    raise exception 'task % is landing right now: use undo afterwards', old.id
      using errcode = 'CW002';
  end if;

  moved := target <> old.state;
  ends_lease := old.leased_by_run is not null and p_event not in ('claim', 'start');
  line := clawd_chain('task:' || old.id, old.chain_head, p_actor, p_event,
    'task:' || old.id, p_why, p_facts, old.id, old.goal, p_run, old.project);
  update task set state = target, last_event = p_event, title = new.title,
    reason = case when moved and not p_set ? 'reason' then '' else new.reason end,
    action = case when moved and not p_set ? 'action' then '' else new.action end,
    owner = case when moved and not p_set ? 'owner' then 'clawd' else new.owner end,
    front = case when moved and not p_set ? 'front' then false else new.front end,
    not_before = case when moved and not p_set ? 'not_before' then null else new.not_before end,
    queued_at = case when moved then moment else new.queued_at end,
    changed_at = moment,
    fence = old.fence + (p_event = 'claim' or ends_lease)::int,
    lease_until = case when not ends_lease then new.lease_until end,
    leased_by_run = case when not ends_lease then new.leased_by_run end,
    host = case when ends_lease then '' else new.host end,
    tries = case when p_event in ('retry', 'reopen') then 0
      when p_event = 'check_red' or (p_event = 'fail' and old.state <> 'review')
      then old.tries + 1 else old.tries end,
    round = case when p_event = 'revise' then old.round + 1
      when p_event in ('retry', 'reopen') then 0 else old.round end,
    bounces = case when p_event = 'bounce' then old.bounces + 1
      when p_event in ('retry', 'reopen') then 0 else old.bounces end,
    priority = new.priority, contract_version = new.contract_version,
    want_host = new.want_host, prefer_agent = new.prefer_agent, prefer_until = new.prefer_until,
    return_to = new.return_to, candidate = new.candidate, scope = new.scope,
    proof_due = new.proof_due, chain_head = line.hash
  where id = old.id returning * into new;
  insert into history (kind, subject, at, from_state, event, to_state, fence, run, actor, reason,
    lineage)
  values ('task', old.id, new.changed_at, old.state, p_event, target, new.fence, p_run, p_actor,
    new.reason, line.id);
  insert into outbox (channel, body) values ('feed', jsonb_build_object('kind', 'task',
    'id', old.id, 'event', p_event, 'from', old.state, 'to', target, 'lineage', line.id));
  if moved and target in ('done', 'verifying', 'cancelled', 'rolled_back') then
    perform clawd_settle_dependants(new, old.state);
  end if;
  return new;
end $$;

-- Dependants of code start once it landed, of a job once it is proven; what is gone parks them.
create function clawd_settle_dependants(t task, was text) returns void language plpgsql as $$
declare d record;
begin
  if t.state = 'done' or (t.state = 'verifying' and t.kind = 'code') then
    with met as (update task_dep set met = true where needs = t.id and not met returning task)
    update task set deps_open = deps_open - 1 where id in (select task from met);
  elsif t.state in ('cancelled', 'rolled_back') then
    for d in select k.id from task_dep x join task k on k.id = x.task
             where x.needs = t.id and k.state = 'backlog' order by k.id
    loop
      perform clawd_move(d.id, 'park', null, 'clawd', format('task %s is %s', t.id, t.state),
        jsonb_build_object('reason', 'dependency_gone', 'owner', 'operator', 'action',
          format('clawd task retry %s (goes on without it) or clawd task cancel %s', d.id, d.id)));
    end loop;
  end if;
end $$;

create function clawd_move_goal(p_goal bigint, p_event text, p_actor text, p_why text,
  p_set jsonb default '{}', p_facts jsonb default '{}', p_run bigint default null)
returns goal language plpgsql as $$
declare old goal; new goal; target text; line record;
begin
  select * into old from goal where id = p_goal for no key update;
  if not found then
    raise exception 'there is no goal %', p_goal using errcode = 'CW003';
  end if;
  target := clawd_goal_next(old.state, p_event);
  if target is null then
    raise exception 'goal % is %: % is not possible', p_goal, old.state, p_event
      using errcode = 'CW002';
  end if;
  new := jsonb_populate_record(old, p_set);
  new.changed_at := clawd_now();
  new.plan_tries := case when p_event in ('refuse', 'fail') then old.plan_tries + 1
    when target = 'seen' then 0 else old.plan_tries end;
  if target <> old.state then
    if not p_set ? 'reason' then new.reason := ''; end if;
    if not p_set ? 'action' then new.action := ''; end if;
    if not p_set ? 'owner' then new.owner := 'clawd'; end if;
    if not p_set ? 'not_before' then new.not_before := null; end if;
  end if;
  line := clawd_chain('goal:' || p_goal, old.chain_head, p_actor, p_event,
    'goal:' || p_goal, p_why, p_facts, null, p_goal, p_run, old.project);
  update goal set state = target, last_event = p_event, title = new.title, body = new.body,
    section = new.section, digest = new.digest, line = new.line, priority = new.priority,
    spec = new.spec, plan_tries = new.plan_tries, not_before = new.not_before,
    reason = new.reason, action = new.action, owner = new.owner, done_by = new.done_by,
    ticked = new.ticked,
    changed_at = new.changed_at, chain_head = line.hash
  where id = p_goal returning * into new;
  insert into history (kind, subject, at, from_state, event, to_state, run, actor, reason, lineage)
  values ('goal', p_goal, new.changed_at, old.state, p_event, target, p_run, p_actor, new.reason,
    line.id);
  insert into outbox (channel, body) values ('feed', jsonb_build_object('kind', 'goal',
    'id', p_goal, 'event', p_event, 'from', old.state, 'to', target, 'lineage', line.id));
  return new;
end $$;

-- A run's moves live in the chain of what it works on. Ending a run frees its agent and its money.
-- Everybody locks in one order: task, goal or project, then run, agent, envelopes.
create function clawd_move_run(p_run bigint, p_event text, p_actor text, p_why text,
  p_set jsonb default '{}', p_facts jsonb default '{}')
returns run language plpgsql as $$
declare old run; new run; target text; line bigint;
begin
  select * into old from run where id = p_run;
  if not found then
    raise exception 'there is no run %', p_run using errcode = 'CW003';
  end if;
  if old.task is not null then
    perform from task where id = old.task for no key update;
  elsif old.goal is not null then
    perform from goal where id = old.goal for no key update;
  else
    perform from project where id = old.project for no key update;
  end if;
  select * into old from run where id = p_run for no key update;
  target := clawd_run_next(old.state, p_event);
  if target is null then
    raise exception 'run % is %: % is not possible', p_run, old.state, p_event
      using errcode = 'CW002';
  end if;
  new := jsonb_populate_record(old, p_set);
  if target in ('completed', 'failed', 'cancelled', 'fenced', 'lost') then
    new.ended_at := clawd_now();
    update agent set live_run = null, last_used = clawd_now()
      where id = old.agent and live_run = p_run;
    update envelope e set reserved = e.reserved - old.reserved_micros,
      spent = e.spent + new.spent_micros
      from clawd_envelopes_of(old) k
      where (e.scope, e.scope_id, e.period) = (k.scope, k.scope_id, k.period);
  end if;
  if old.task is not null then
    line := clawd_tell('task', old.task, p_actor, 'run_' || p_event, p_why, p_facts, p_run);
  elsif old.goal is not null then
    line := clawd_tell('goal', old.goal, p_actor, 'run_' || p_event, p_why, p_facts, p_run);
  else
    line := clawd_tell('project', old.project, p_actor, 'run_' || p_event, p_why, p_facts, p_run);
  end if;
  update run set state = target, last_event = p_event, reason = new.reason, detail = new.detail,
    charged = new.charged, session = new.session, sup_pid = new.sup_pid,
    sup_start = new.sup_start, marker = new.marker, folder = new.folder,
    cli_version = new.cli_version, cli_sha = new.cli_sha, model = new.model,
    prompt_hash = new.prompt_hash, base_oid = new.base_oid, limits = new.limits,
    spent_micros = new.spent_micros, turns = new.turns, doing = new.doing,
    delivered_at = new.delivered_at, started_at = new.started_at, ended_at = new.ended_at
  where id = p_run returning * into new;
  insert into history (kind, subject, at, from_state, event, to_state, fence, run, actor, reason,
    lineage)
  values ('run', p_run, clawd_now(), old.state, p_event, target, old.fence, p_run, p_actor,
    new.reason, line);
  return new;
end $$;

-- ---------------------------------------------------------------- claims and money

-- The envelopes a run draws on. The day is the run's own: what it reserved it gives back there.
create function clawd_envelopes_of(r run)
returns table (scope text, scope_id text, period text) language sql stable as $$
  select 'day', 'all', coalesce(r.limits ->> 'day', '')
  union all
  select 'task', r.task::text, '' where r.task is not null
$$;

-- Takes the first of p_tasks that is still free, in the order given by the scheduler: one row is
-- locked, never the neighbours'. Reserves the run's limit, occupies the agent, opens the run.
-- Returns null when every row is gone, CW005 when the money or the agent is.
create function clawd_claim(p_tasks bigint[], p_role text, p_agent bigint, p_host text,
  p_lease interval, p_run jsonb, p_actor text, p_why text, p_facts jsonb default '{}')
returns run language plpgsql as $$
declare wanted bigint; t task; r run; claimed task;
begin
  foreach wanted in array p_tasks loop
    select * into t from task k where k.id = wanted and k.leased_by_run is null
      and k.state = case p_role when 'qa' then 'review' else 'backlog' end
      and (p_role = 'qa' or k.deps_open = 0)
      and (k.not_before is null or k.not_before <= clawd_now())
      for no key update skip locked;
    exit when found;
  end loop;
  if t.id is null then
    return null;
  end if;
  r := clawd_open_run(t.project, t.id, t.goal, p_role, p_agent, p_host, t.fence + 1,
    p_run || jsonb_build_object('contract_version', t.contract_version));
  claimed := t;
  claimed.lease_until := clawd_now() + p_lease;
  claimed.leased_by_run := r.id;
  claimed.host := p_host;
  perform clawd_write_move(t, claimed, 'claim', p_actor, p_why, '{}', p_facts, r.id);
  return r;
end $$;

-- A run's row with its agent and its money taken, or CW005 and nothing at all.
create function clawd_open_run(p_project bigint, p_task bigint, p_goal bigint, p_role text,
  p_agent bigint, p_host text, p_fence bigint, p_run jsonb) returns run language plpgsql as $$
declare r run;
begin
  insert into run (project, task, goal, role, agent, host, fence, resumes, tier, network, model,
    session, limits, reserved_micros, contract_version)
  values (p_project, p_task, p_goal, p_role, p_agent, p_host, p_fence,
    (p_run ->> 'resumes')::bigint, coalesce(p_run ->> 'tier', 'intern'),
    coalesce(p_run ->> 'network', 'none'), coalesce(p_run ->> 'model', ''),
    coalesce(p_run ->> 'session', ''), coalesce(p_run -> 'limits', '{}'),
    coalesce((p_run ->> 'reserved_micros')::bigint, 0),
    coalesce((p_run ->> 'contract_version')::integer, 0))
  returning * into r;
  update agent set live_run = r.id where id = p_agent and live_run is null and state = 'active';
  if not found then
    raise exception 'agent % is busy', p_agent using errcode = 'CW005';
  end if;
  update envelope e set reserved = e.reserved + r.reserved_micros
    where e.scope = 'day' and e.scope_id = 'all' and e.period = coalesce(r.limits ->> 'day', '')
      and e.spent + e.reserved + r.reserved_micros <= e."limit";
  if not found then
    raise exception 'the day envelope has no room for this run' using errcode = 'CW005';
  end if;
  if r.task is not null then
    update envelope e set reserved = e.reserved + r.reserved_micros
      where e.scope = 'task' and e.scope_id = r.task::text and e.period = ''
        and e.spent + e.reserved + r.reserved_micros <= e."limit";
    if not found then
      raise exception 'the task envelope has no room for this run' using errcode = 'CW005';
    end if;
  end if;
  return r;
end $$;

-- One statement renews every lease of a host's live runs and says which runs still hold theirs.
create function clawd_heartbeat(p_host text, p_runs bigint[], p_lease interval)
returns setof bigint language sql as $$
  with held as (
    select t.id, r.id as run from task t join run r on r.id = t.leased_by_run and r.fence = t.fence
    where r.id = any (p_runs) and r.host = p_host order by t.id for no key update of t)
  update task t set lease_until = clawd_now() + p_lease from held where t.id = held.id
    returning held.run
$$;
