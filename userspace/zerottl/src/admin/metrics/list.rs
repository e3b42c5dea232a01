//! All metrics of the agent, in the order of the documents' table, which `cargo xtask docs --from-source` makes of these
//! lines.

use zerottl_core::metrics;

metrics! {
    /// Packets seen by the XDP program, each under one reason
    PACKETS = counter "packets" [reason, action],
    /// Queries that the socket path received
    SOCKET_QUERIES = counter "socket_queries" [transport],
    /// Answers that the socket path made
    SOCKET_ANSWERS = counter "socket_answers" [rcode],
    /// Other events on the socket path
    SOCKET_EVENTS = counter "socket_events" [event],
    /// TCP connections open now
    TCP_CONNECTIONS = gauge "tcp_connections" [],
    /// Whether the upstream of a forward name counts as up, and is asked before those that are down
    FORWARD_UPSTREAM_UP = gauge "forward_upstream_up" [upstream],
    /// Time that the upstream takes to answer, smoothed
    FORWARD_UPSTREAM_RTT = gauge "forward_upstream_rtt_seconds" [upstream],
    /// Queries that wait for the upstream now
    FORWARD_UPSTREAM_WAITING = gauge "forward_upstream_waiting" [upstream],
    /// Queries sent to the upstream
    FORWARD_UPSTREAM_QUERIES = counter "forward_upstream_queries" [upstream],
    /// Answers of the upstream, of whatever rcode
    FORWARD_UPSTREAM_ANSWERS = counter "forward_upstream_answers" [upstream],
    /// Queries that the upstream did not answer
    FORWARD_UPSTREAM_UNANSWERED = counter "forward_upstream_unanswered" [upstream],
    /// Queries that this machine could not send, or whose answer it looked for too late
    FORWARD_UPSTREAM_NOT_TRIED = counter "forward_upstream_not_tried" [upstream],
    /// Answers that repeat the question in other letter case
    FORWARD_UPSTREAM_RESPELT = counter "forward_upstream_respelt" [upstream],
    /// Datagrams that were not the answer: wrong ID, question or sender
    FORWARD_UPSTREAM_WRONG = counter "forward_upstream_wrong" [upstream],
    /// Queries of the forward name that wait now
    FORWARD_WAITING = gauge "forward_waiting" [forward],
    /// Queries of the forward name that got SERVFAIL
    FORWARD_FAILURES = counter "forward_failures" [forward, why],
    /// Names and types, by what they are answered from
    PLAN_CHOICES = gauge "plan_choices" [from],
    /// Whether any address of the Site counts as up
    SITE_UP = gauge "site_up" [site],
    /// The weight in force
    SITE_WEIGHT = gauge "site_weight" [site],
    /// 1 for the state the Site is in, 0 for the others
    SITE_STATE = gauge "site_state" [site, state],
    /// Sites by state, all of them
    SITES = gauge "sites" [state],
    /// Share of a Pool or Group Name's answers that give the Site
    SHARE = gauge "share" [name, type, site],
    /// Whether the Site is up and nothing excludes it
    SITE_ELIGIBLE = gauge "site_eligible" [site],
    /// The operator's override of the Site and who set it, always 1; no sample for `ready`
    SITE_WORD = gauge "site_word" [site, word, by],
    /// Time until a Site that keeps flapping is answered again; 0 unless it is held back
    SITE_HOLD = gauge "site_hold_seconds" [site],
    /// Conditions that need attention now; 0 where all is well
    ALARM = gauge "alarm" [kind, pool],
    /// Time until the first signature of the signed zone expires; negative once it has
    SIGNATURE_EXPIRES = gauge "signature_expires_seconds" [zone],
    /// Signatures of the signed zone
    SIGNATURES = gauge "signatures" [zone],
    /// Whether the fleet's engine is reached
    FLEET_CONNECTED = gauge "fleet_connected" [],
    /// Fronts of the fleet that live, this one included
    FLEET_FRONTS = gauge "fleet_fronts" [],
    /// Whether this front sees most Sites otherwise than all others: its votes do not count
    FLEET_CUT_OFF = gauge "fleet_cut_off" [],
    /// Whether the front of the fleet has taken over, or refused, all words
    FLEET_FRONT_CURRENT = gauge "fleet_front_current" [front],
    /// Words that the front of the fleet refuses, by its own minimums
    FLEET_FRONT_REFUSED = gauge "fleet_front_refused" [front],
    /// Words said here that the fleet could not be told yet
    FLEET_PENDING = gauge "fleet_pending" [],
    /// Values of the fleet's engine that were ignored
    FLEET_FAULTS = counter "fleet_faults" [],
    /// Keys that this front has written
    FLEET_WRITES = counter "fleet_writes" [],
    /// Requests refused for a pool's `min_sites` or `min_capacity`
    REFUSALS = counter "refusals" [],
    /// Whether the newest state could be saved, so that it survives a restart
    STATE_KEPT = gauge "state_kept" [],
    /// Utilisation of the Site `takes` right after the Site `dies`, as a part of its capacity
    N_MINUS_ONE = gauge "n_minus_one" [pool, dies, takes],
    /// Whether the address counts as up
    ADDRESS_UP = gauge "address_up" [site, address],
    /// Whether the address has had its first verdict
    ADDRESS_KNOWN = gauge "address_known" [site, address],
    /// Time since the newest attempt began
    PROBE_AGE = gauge "probe_age_seconds" [site, address],
    /// Time that the newest successful attempt took
    PROBE_LATENCY = gauge "probe_latency_seconds" [site, address],
    /// Time that successful attempts took, over all addresses
    PROBE_DURATION = histogram "probe_duration_seconds" [site],
    /// Attempts begun
    PROBE_ATTEMPTS = counter "probe_attempts" [site, address],
    /// Attempts that failed
    PROBE_FAILURES = counter "probe_failures" [site, address],
    /// Attempts that this machine could not make
    PROBE_NOT_TRIED = counter "probe_not_tried" [site, address],
    /// Restarts of the address's checker after it failed
    PROBE_RESTARTS = counter "probe_restarts" [site, address],
    /// The load in force, in the Site's unit: that of its report and of answers since
    SITE_LOAD = gauge "site_load" [site],
    /// The load that the Site should not exceed
    SITE_LOAD_TARGET = gauge "site_load_target" [site],
    /// The load at which the Site can take no more
    SITE_LOAD_CAPACITY = gauge "site_load_capacity" [site],
    /// The Site's headroom by the watermarks: 1 is free, 0 is full
    SITE_LOAD_HEADROOM = gauge "site_load_headroom" [site],
    /// The load that one answer adds, as configured or learned
    SITE_LOAD_PER_ANSWER = gauge "site_load_per_answer" [site],
    /// Time since the newest report with new content
    SITE_LOAD_AGE = gauge "site_load_age_seconds" [site],
    /// Whether that time is longer than `stale_after`
    SITE_LOAD_STALE = gauge "site_load_stale" [site],
    /// Whether the Site wants no new clients or says that it is down, or is silent under `when_stale = drain`
    SITE_TAKES_ITSELF_OUT = gauge "site_takes_itself_out" [site],
    /// Sessions that the Site reports
    SITE_SESSIONS = gauge "site_sessions" [site],
    /// Load reports accepted
    SITE_LOAD_REPORTS = counter "site_load_reports" [site],
    /// Attempts to learn the load, and reports, that failed
    SITE_LOAD_FAILURES = counter "site_load_failures" [site],
    /// Events for the hook, by what has become of them: `delivered`, `failed` (given up), `dropped` (too many waited)
    HOOK_EVENTS = counter "hook_events" [hook, outcome],
    /// Attempts to tell the hook an event that failed
    HOOK_FAILURES = counter "hook_failures" [hook],
    /// Events that wait for the hook now
    HOOK_WAITING = gauge "hook_waiting" [hook],
    /// Plans published
    PLAN_PUBLICATIONS = counter "plan_publications" [],
    /// Planning rounds, each of which assesses everything again; at least ten a second
    ROUNDS = counter "rounds" [],
    /// Rounds that made a plan, because something had changed
    PLANS = counter "plans" [],
    /// Bytes of plans written into the XDP program's maps
    PLAN_WRITTEN_BYTES = counter "plan_written_bytes" [],
    /// CPU time of planning rounds
    ROUNDS_CPU = counter "rounds_cpu_seconds" [],
    /// Time since the newest plan was published; grows for as long as no health changes
    PLAN_AGE = gauge "plan_age_seconds" [],
    /// Time from the newest plan's cause to its publication
    PLAN_PUBLISH = gauge "plan_publish_seconds" [],
    /// Time that publications took, from their cause to answers
    PLAN_PUBLICATION_DURATION = histogram "plan_publication_duration_seconds" [],
    /// 1 for the mode in which the XDP program is attached to the interface, 0 for the others
    ATTACHED = gauge "attached" [interface, mode],
    /// Items that have no series of their own here, because there are too many
    SERIES_OMITTED = gauge "series_omitted" [what],
    /// Time since the agent started
    UPTIME = gauge "uptime_seconds" [],
    /// The version, as a label; always 1
    BUILD_INFO = gauge "build_info" [version],
}
