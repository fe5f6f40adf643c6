---@meta orcs

-- What scripts of luahost find in `orcs`. Made by `luahost stubs` from lua/meta/api.toml; do not change it here.

---@alias orcs.ErrorKind
---| "aborted" # the component answered a signal with Abort
---| "approval_denied" # the approver said no, or there is none
---| "approval_timeout" # the approver did not answer in time
---| "already_exists" # there is a child of this id
---| "auth_error" # the server does not take the key
---| "backend_failed" # the backend raised, or returned what is no turn
---| "budget_exceeded" # a budget of the grant is used up
---| "cancelled" # ended from outside
---| "capability_expired" # the grant's time is over
---| "capability_revoked" # the grant was taken away
---| "capability_widening" # more was asked for a child than its parent holds
---| "child_not_found" # no such child below this script
---| "concurrency_limit" # as many calls as the grant allows are under way
---| "conflict" # the session changed meanwhile
---| "connection_refused" # nothing listens there
---| "connection_reset" # the connection broke
---| "content_filter" # the provider withheld the answer
---| "context_overflow" # more than the model can read
---| "deadline_exceeded" # the time is used up
---| "dns" # the name has no address
---| "empty_response" # the server answered nothing
---| "execution_failed" # the child's script failed
---| "exhausted" # a limit of the VM is used up
---| "exists" # something of that name is there
---| "exit" # the program ended with another code than 0
---| "hook_denied" # a hook of the script said no
---| "host_not_allowed" # the grant does not reach this server
---| "http_error" # the server answered with an error
---| "internal" # our fault
---| "invalid_input" # a value that cannot be sent
---| "invalid_method" # not one of HTTP's
---| "invalid_options" # detail.field is wrong
---| "invalid_request" # the server does not take the request
---| "invalid_response" # the answer is not what was asked for
---| "invalid_script" # it does not compile
---| "invalid_url" # not a URL that is taken
---| "io" # the disk said no
---| "mcp_error" # the MCP server said no
---| "mcp_unavailable" # the MCP server is not there
---| "max_children_reached" # as many as may live
---| "max_depth_reached" # too deep in the tree
---| "missing_api_key" # the provider's key is not set
---| "model_not_allowed" # the grant does not list this model
---| "network" # another fault of the network
---| "not_a_directory" # something on the way is none
---| "not_a_file" # a regular file expected
---| "not_found" # there is none
---| "not_supported" # not here
---| "overloaded" # the server has no room
---| "parse_error" # the server's words are none of its protocol
---| "path_not_allowed" # the grant does not reach this path
---| "permission_denied" # there is no grant
---| "queue_full" # too many are under way
---| "quota" # the provider's account is used up
---| "rate_limit" # too many in a time
---| "script_not_found" # no such script
---| "script_error" # the script raised
---| "server_error" # the server failed
---| "session_busy" # a turn of this session is under way
---| "stream_incomplete" # the answer ended before its end
---| "timeout" # it took too long
---| "tls" # no secure connection
---| "too_large" # more than may be carried
---| "tool_error" # the tool failed
---| "tool_loop_limit" # the model still calls tools
---| "tool_not_allowed" # the grant does not list this tool

---@class orcs.Result
---@field ok boolean
---@field error? string where ok is false: one line
---@field error_kind? orcs.ErrorKind
---@field retryable? boolean the same call may succeed later
---@field detail? table field, capability, rule, limit, used, grant, retry_after_s, …

---@class orcs.LlmOptions
---@field provider? string a server by name
---@field model? string
---@field base_url? string needs a grant that lists its host
---@field api_key? string
---@field system_prompt? string becomes part of the session
---@field session_id? string calls with the same one are a conversation
---@field temperature? number
---@field top_p? number
---@field max_tokens? integer of the answer
---@field seed? integer
---@field stop? string[]
---@field timeout? number seconds; first_token_timeout and idle_timeout in one
---@field connect_timeout? number
---@field first_token_timeout? number
---@field idle_timeout? number
---@field overall_timeout? number bounds queue, retries and body
---@field max_retries? integer
---@field stream? boolean
---@field thinking? string|integer off, minimal, low, medium, high, xhigh, or tokens
---@field effort? string
---@field cache? table {system, tools, turns, ttl}
---@field num_ctx? integer
---@field keep_alive? string|integer
---@field parallel_tool_calls? boolean
---@field tools? (orcs.Tool|string)[]|true a text names an intent; true: all intents that a grant is held for
---@field tool_choice? string auto, none, required, or a tool's name
---@field tool_results? table {{id, content}} or {[id] = value}
---@field images? orcs.Picture[]
---@field response_schema? table the answer is JSON of this schema, in result.parsed
---@field provider_order? string[]
---@field extra_headers? table<string, string>
---@field extra_body? table
---@field strict? boolean an option the model does not take is an error, not a warning
---@field compact_at? integer result.should_compact from so many tokens on
---@field fallback? (string|table)[] who is asked when the one before could not answer
---@field fallback_on? string[] error kinds
---@field on_delta? (fun(text: string): boolean?) each piece; false stops the answer
---@field on_event? (fun(event: table): boolean?)
---@field resolve? boolean runs the tools' calls until the model is done
---@field max_tool_turns? integer
---@field hil_intents? boolean taken and ignored: a call that must be approved waits

---@class orcs.Tool
---@field name string
---@field description? string
---@field parameters? table a JSON Schema of type object
---@field run? (fun(args: table): any)
---@field parallel? boolean may run at the same time as others

---@class orcs.Picture
---@field media_type? string
---@field data? string its bytes
---@field url? string
---@field path? string under fs.read

---@class orcs.Answer: orcs.Result
---@field content string
---@field model string
---@field provider string
---@field session_id string
---@field stop_reason string end_turn, tool_use, max_tokens, stop_sequence, cancelled, …
---@field truncated boolean
---@field usage? orcs.Usage
---@field latency_ms number
---@field ttft_ms? number until the first piece
---@field queue_ms? number
---@field attempts integer
---@field turns? integer with resolve
---@field request_id? string
---@field intents? orcs.Intent[] calls that are left to the script
---@field parsed? any with response_schema
---@field thinking? string
---@field refusal? string
---@field images? orcs.Picture[]
---@field warnings? string[] options the model does not take
---@field fallbacks? table[] who could not answer, and why
---@field should_compact? boolean
---@field raw_finish_reason? string

---@class orcs.Intent
---@field id string
---@field name string
---@field params? table
---@field malformed? string the arguments, where they are not one JSON object

---@class orcs.Usage
---@field input? integer
---@field output? integer
---@field reasoning? integer
---@field cache_read? integer
---@field cache_write? integer
---@field total? integer
---@field cost_usd? number
---@field estimated? boolean counted here, not by the server

---@class orcs.PingOptions
---@field provider? string
---@field base_url? string
---@field api_key? string
---@field timeout? number seconds; 5

---@class orcs.Ping: orcs.Result
---@field provider string
---@field base_url string
---@field reachable boolean
---@field authorized boolean
---@field status? integer
---@field latency_ms number

---@class orcs.Models: orcs.Ping
---@field models string[]

---@class orcs.DumpOptions
---@field full? boolean usage and times too
---@field ids? string[]

---@class orcs.LoadOptions
---@field mode? string replace, merge or skip

---@class orcs.Loaded: orcs.Result
---@field count integer

---@class orcs.SessionInfo
---@field id string
---@field messages integer
---@field turns integer
---@field bytes integer
---@field tokens integer about what its next request takes
---@field system boolean
---@field busy boolean
---@field created_s number
---@field updated_s number
---@field prefix_sha256 string
---@field usage? orcs.Usage

---@class orcs.SessionList: orcs.Result
---@field sessions orcs.SessionInfo[]

---@class orcs.Session: orcs.Result
---@field id string
---@field system_prompt? string
---@field messages table[] {role, content}

---@class orcs.ForkOptions
---@field new_id? string
---@field at_turn? integer its first so many turns; -1: all but the last

---@class orcs.Forked: orcs.Result
---@field id string

---@class orcs.TrimOptions
---@field max_messages? integer
---@field max_tokens? integer

---@class orcs.Trimmed: orcs.Result
---@field removed integer
---@field messages integer
---@field tokens integer

---@class orcs.CompactOptions: orcs.LlmOptions
---@field keep_turns? integer 2
---@field instructions? string

---@class orcs.Compacted: orcs.Result
---@field compacted boolean
---@field summary? string
---@field removed? integer
---@field tokens_before integer
---@field tokens integer

---@class orcs.File: orcs.Result
---@field content string
---@field size integer

---@class orcs.Written: orcs.Result
---@field bytes_written integer

---@class orcs.Files: orcs.Result
---@field files string[]
---@field count integer

---@class orcs.Match
---@field path string
---@field line_number integer
---@field line string

---@class orcs.Matches: orcs.Result
---@field matches orcs.Match[]
---@field count integer
---@field truncated? boolean there were more

---@class orcs.ScanOptions
---@field path string
---@field recursive? boolean
---@field max_depth? integer
---@field exclude? string[]
---@field include? string[]

---@class orcs.Entry
---@field path string
---@field relative string
---@field is_dir boolean
---@field size integer
---@field modified number seconds since 1970

---@class orcs.Git: orcs.Result
---@field branch? string
---@field commit_short? string

---@class orcs.HttpOptions
---@field headers? table<string, string>
---@field body? string
---@field timeout? number seconds

---@class orcs.Response: orcs.Result
---@field status integer
---@field headers table<string, string> names in small letters
---@field all_headers table every header, repeated ones too
---@field body string
---@field url string where it came from, after redirects
---@field redirects integer

---@class orcs.McpServers: orcs.Result
---@field servers table[] {name}

---@class orcs.McpTool
---@field name string mcp__SERVER__TOOL
---@field server string
---@field tool string
---@field description string
---@field parameters table a JSON Schema

---@class orcs.McpTools: orcs.Result
---@field tools orcs.McpTool[]

---@class orcs.McpResult: orcs.Result
---@field content string
---@field structured? table
---@field images? table[] {media_type, data}

---@class orcs.ExecOptions
---@field cwd? string
---@field timeout? number seconds
---@field env_remove? string[]

---@class orcs.Executed: orcs.Result
---@field stdout string
---@field stderr string
---@field code integer -1: nothing was run, or it was killed
---@field signal_terminated? boolean
---@field truncated? boolean

---@class orcs.Checked
---@field status string allowed or denied
---@field reason? string
---@field grant_pattern? string
---@field description? string

---@class orcs.ChildSpec
---@field id string
---@field script? string Lua text; or
---@field path? string a file beside the script; or
---@field module? string as require finds it
---@field caps? string|table none, inherit, or {kind = true | {constraints}}
---@field limits? table
---@field input? any
---@field restore? any what snapshot() gave

---@class orcs.Child: orcs.Result
---@field id string
---@field name? string
---@field send fun(self, message: any): orcs.Sent
---@field send_async fun(self, message: any): orcs.Ticket
---@field run fun(self, message: any): orcs.Sent and then it is over
---@field request fun(self, operation: string, payload: any, opts?: orcs.RequestOptions): orcs.Responded
---@field signal fun(self, kind: string, reason?: string): orcs.Result
---@field revoke fun(self, kind: string): orcs.Result
---@field cancel fun(self): orcs.Result
---@field close fun(self): orcs.Result
---@field snapshot fun(self): orcs.Sent
---@field usage fun(self): orcs.Result
---@field status? fun(self): string

---@class orcs.ChildInfo
---@field id string
---@field name string
---@field status string

---@class orcs.Sent: orcs.Result
---@field result any

---@class orcs.Ticket: orcs.Result
---@field ticket string

---@class orcs.TicketOptions
---@field timeout? number seconds

---@class orcs.RequestOptions
---@field timeout_ms? number 30000

---@class orcs.Request
---@field target string
---@field operation string
---@field payload? any
---@field timeout_ms? number

---@class orcs.Responded
---@field success boolean
---@field data any
---@field error? string
---@field error_kind? orcs.ErrorKind

---@class orcs.GroupOptions
---@field concurrency? integer so many at a time
---@field collect? boolean an error is a result, and ends nobody else

---@class orcs.Frontmatter: orcs.Result
---@field frontmatter? table
---@field body string
---@field format? string yaml or toml; nil: there is none

---@class orcs.Evaluated: orcs.Result
---@field output string what it printed, 32 KiB at most
---@field result? any

---@class orcs.Violation
---@field rule string control_char, shell_meta, env_expansion, glob, path_traversal
---@field message string
---@field position integer a byte, from 1
---@field fragment string

---@class orcs.Sanitized: orcs.Result
---@field value? string
---@field violations? orcs.Violation[]

---@class orcs.Globbed
---@field matched string[]
---@field unmatched string[]

---@class orcs.ChunkOptions
---@field tokens? integer 500; four bytes each
---@field overlap? integer at most half of it

---@class orcs.Event
---@field timestamp number
---@field source table {name}: the VM's path
---@field kind string
---@field category string
---@field operation string
---@field payload? any

---@class orcs.RunnerSpec
---@field script string
---@field id? string
---@field globals? table set before its first line
---@field caps? string|table
---@field limits? table

---@class orcs.Runner: orcs.Result
---@field channel_id string its id
---@field fqn string its path

---@class orcs.HookSpec
---@field fql? string *::* or *::read
---@field point string tool.pre_execute or tool.post_execute
---@field handler? fun(context: orcs.HookContext): table
---@field priority? number 100; the lower is asked first
---@field id? string

---@class orcs.HookContext
---@field hook_point string
---@field operation string
---@field depth integer
---@field max_depth integer
---@field payload table a copy of what is sent, or of the result

---@class orcs.Hooked: orcs.Result
---@field id string

---@class orcs.IntentSpec
---@field name string
---@field description? string
---@field run? (fun(args: table): any) answers it; or component does
---@field component? string a path below the script
---@field operation? string execute
---@field params? table name → {type, description, required}
---@field parameters? table a JSON Schema, in place of params
---@field timeout_ms? number

---@class orcs.LoopOptions
---@field prompt string
---@field max_turns? integer 10; at most 100

---@class orcs.Turn
---@field prompt? string at turn 0
---@field tool_results? table[] {id, name, content, is_error}, afterwards
---@field tools table[] {name, description, parameters}
---@field turn_number integer

---@class orcs.LoopResult: orcs.Result
---@field content string
---@field num_turns integer

---@class orcs.Held
---@field constraints table
---@field used table<string, number>
---@field remaining table<string, number>
---@field expires_in? number

---@class orcs.Granted: orcs.Result
---@field kind string
---@field grant string as grant text

---@class orcs.Decision
---@field allow boolean
---@field rule? string
---@field error? string
---@field error_kind? orcs.ErrorKind

---@class orcs.Null

---@class orcs
---@field pwd string? Where relative paths begin; nil without a grant that reaches files.
---@field null orcs.Null JSON's null.
orcs = {}
orcs.llm_sessions = {}
orcs.text = {}

--- Asks a model. prompt is nil where opts has tool_results.
--- Needs `llm`.
--- Fails with network, host_not_allowed, dns, connection_refused, connection_reset, tls, timeout, parse_error, model_not_allowed, tool_not_allowed, auth_error, not_found, rate_limit, quota, overloaded, server_error, invalid_request, context_overflow, empty_response, http_error, session_busy, tool_loop_limit, content_filter, invalid_response, stream_incomplete, too_large, missing_api_key, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, invalid_options.
---@param prompt string?
---@param opts? orcs.LlmOptions
---@return orcs.Answer
function orcs.llm(prompt, opts) end

--- Whether a server is there and takes the key.
--- Needs `llm`.
--- Fails with network, host_not_allowed, dns, connection_refused, connection_reset, tls, timeout, parse_error, model_not_allowed, tool_not_allowed, auth_error, not_found, rate_limit, quota, overloaded, server_error, invalid_request, context_overflow, empty_response, http_error, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, invalid_options.
---@param opts? orcs.PingOptions
---@return orcs.Ping
function orcs.llm_ping(opts) end

--- The models that a server has and the grant allows.
--- Needs `llm`.
--- Fails with network, host_not_allowed, dns, connection_refused, connection_reset, tls, timeout, parse_error, model_not_allowed, tool_not_allowed, auth_error, not_found, rate_limit, quota, overloaded, server_error, invalid_request, context_overflow, empty_response, http_error, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, invalid_options.
---@param opts? orcs.PingOptions
---@return orcs.Models
function orcs.llm_models(opts) end

--- All sessions as JSON text.
--- Fails with invalid_options, too_large, not_found.
---@param opts? orcs.DumpOptions
---@return string|orcs.Result
function orcs.llm_dump_sessions(opts) end

--- Takes sessions from such a text, all or none.
--- Fails with invalid_options, session_busy, too_large.
---@param json string
---@param opts? orcs.LoadOptions
---@return orcs.Loaded
function orcs.llm_load_sessions(json, opts) end

--- What there is, oldest first.
--- Fails with too_large.
---@return orcs.SessionList
function orcs.llm_sessions.list() end

--- One session's messages.
--- Fails with not_found, too_large.
---@param id string
---@return orcs.Session
function orcs.llm_sessions.get(id) end

--- Forgets a session.
--- Fails with not_found, session_busy.
---@param id string
---@return orcs.Result
function orcs.llm_sessions.delete(id) end

--- A second session with the same past.
--- Fails with not_found, invalid_options, too_large.
---@param id string
---@param opts? orcs.ForkOptions
---@return orcs.Forked
function orcs.llm_sessions.fork(id, opts) end

--- Drops the oldest turns until the limits hold.
--- Fails with not_found, session_busy, invalid_options.
---@param id string
---@param opts? orcs.TrimOptions
---@return orcs.Trimmed
function orcs.llm_sessions.trim(id, opts) end

--- A summary by the model in place of the older turns.
--- Needs `llm`.
--- Fails with network, host_not_allowed, dns, connection_refused, connection_reset, tls, timeout, parse_error, model_not_allowed, tool_not_allowed, auth_error, not_found, rate_limit, quota, overloaded, server_error, invalid_request, context_overflow, empty_response, http_error, session_busy, conflict, invalid_response, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, invalid_options.
---@param id string
---@param opts? orcs.CompactOptions
---@return orcs.Compacted
function orcs.llm_sessions.compact(id, opts) end

--- The same as llm_dump_sessions.
--- Fails with invalid_options, too_large, not_found.
---@param opts? orcs.DumpOptions
---@return string|orcs.Result
function orcs.llm_sessions.dump(opts) end

--- The same as llm_load_sessions.
--- Fails with invalid_options, session_busy, too_large.
---@param json string
---@param opts? orcs.LoadOptions
---@return orcs.Loaded
function orcs.llm_sessions.load(json, opts) end

--- A tool by name that a function answers, or a component below.
--- Fails with invalid_options.
---@param spec orcs.IntentSpec
---@return orcs.Result
function orcs.register_intent(spec) end

--- Takes one of mine away.
--- Fails with not_found, invalid_options.
---@param name string
---@return orcs.Result
function orcs.unregister_intent(name) end

--- Does an intent; judged like the call it is.
--- Fails with not_found, invalid_options, child_not_found, execution_failed, invalid_input, aborted, cancelled.
---@param name string
---@param args? table
---@return any
function orcs.dispatch(name, args) end

--- {name, description, parameters} of all: orcs' own nine and mine.
---@return table[]
function orcs.intent_defs() end

--- {name, description, args} of the same.
---@return table[]
function orcs.tool_schemas() end

--- A line for each.
---@return string
function orcs.tool_descriptions() end

--- Asks a backend of my own until it calls no more intents.
--- Fails with invalid_options, backend_failed, tool_loop_limit.
---@param backend fun(request: orcs.Turn): table
---@param opts orcs.LoopOptions
---@return orcs.LoopResult
function orcs.resolve_loop(backend, opts) end

--- Nil: nothing here suspends by raising.
---@param err? any
---@return table?
function orcs.suspended_info(err) end

--- A file's bytes.
--- Needs `fs.read`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param path string
---@return orcs.File
function orcs.read(path) end

--- A whole file or none; directories on the way are made.
--- Needs `fs.write`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param path string
---@param content string
---@return orcs.Written
function orcs.write(path, content) end

--- A directory, and those on the way.
--- Needs `fs.write`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param path string
---@return orcs.Result
function orcs.mkdir(path) end

--- A file, or a directory with all that is in it.
--- Needs `fs.delete`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param path string
---@return orcs.Result
function orcs.remove(path) end

--- Another name or place.
--- Needs `fs.write` and `fs.delete`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, exists, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param src string
---@param dst string
---@return orcs.Result
function orcs.mv(src, dst) end

--- The files whose path below dir matches.
--- Needs `fs.read`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, invalid_options, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit.
---@param pattern string
---@param dir? string
---@return orcs.Files
function orcs.glob(pattern, dir) end

--- The lines that match an RE2 pattern.
--- Needs `fs.read`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, invalid_options, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit.
---@param pattern string
---@param path? string
---@return orcs.Matches
function orcs.grep(pattern, path) end

--- What lies in a directory. Raises what it fails with.
--- Needs `fs.read`.
---@param config orcs.ScanOptions
---@return orcs.Entry[]
function orcs.scan_dir(config) end

--- Branch and commit, read from .git.
--- Needs `fs.read`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@return orcs.Git
function orcs.git_info() end

--- One request; ok for any status.
--- Needs `http`.
--- Fails with network, host_not_allowed, dns, connection_refused, connection_reset, tls, timeout, parse_error, invalid_url, invalid_method, too_large, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param method string
---@param url string
---@param opts? orcs.HttpOptions
---@return orcs.Response
function orcs.http(method, url, opts) end

--- A shell's command, where the grant says shell=true.
--- Needs `exec`.
--- Fails with exit, timeout, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param command string
---@return orcs.Executed
function orcs.exec(command) end

--- A program with its arguments; no shell.
--- Needs `exec`.
--- Fails with exit, timeout, not_found, path_not_allowed, io, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param program string
---@param args? string[]
---@param opts? orcs.ExecOptions
---@return orcs.Executed
function orcs.exec_argv(program, args, opts) end

--- What orcs.exec would be told; runs nothing.
---@param command string
---@return orcs.Checked
function orcs.check_command(command) end

--- The MCP servers that the grant allows.
--- Needs `mcp`.
--- Fails with permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@return orcs.McpServers
function orcs.mcp_servers() end

--- Their tools that the grant allows.
--- Needs `mcp`.
--- Fails with mcp_error, mcp_unavailable, tool_not_allowed, timeout, invalid_options, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit.
---@param server? string
---@return orcs.McpTools
function orcs.mcp_tools(server) end

--- Calls a tool.
--- Needs `mcp`.
--- Fails with mcp_error, mcp_unavailable, tool_not_allowed, timeout, tool_error, invalid_options, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit.
---@param server string
---@param tool string
---@param args? table
---@return orcs.McpResult
function orcs.mcp_call(server, tool, args) end

--- The tools as orcs.llm takes them; nil and the failed result where there are none.
--- Needs `mcp`.
--- Fails with mcp_error, mcp_unavailable, tool_not_allowed, timeout, invalid_options, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit.
---@param server? string
---@return orcs.Tool[]?
---@return orcs.Result?
function orcs.mcp_as_tools(server) end

--- A script in a VM of its own, with a part of my grants.
--- Needs `spawn`.
--- Fails with capability_widening, already_exists, script_not_found, invalid_script, max_children_reached, max_depth_reached, path_not_allowed, execution_failed, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param spec orcs.ChildSpec
---@return orcs.Child
function orcs.spawn_child(spec) end

--- The handle of a child, or of one below it.
---@param id string
---@return orcs.Child
function orcs.child(id) end

--- Those that live.
---@return orcs.ChildInfo[]
function orcs.children() end

--- How many live.
---@return integer
function orcs.child_count() end

--- How many may; 0 without the grant.
---@return integer
function orcs.max_children() end

--- Calls its run(message) and waits.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled.
---@param id string
---@param message any
---@return orcs.Sent
function orcs.send_to_child(id, message) end

--- The same without waiting.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled, queue_full.
---@param id string
---@param message any
---@return orcs.Ticket
function orcs.send_to_child_async(id, message) end

--- What came of it.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled, timeout.
---@param ticket string
---@param opts? orcs.TicketOptions
---@return orcs.Sent
function orcs.child_result(ticket, opts) end

--- Several at once; results in order.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled, too_large.
---@param ids string[]
---@param inputs any[]
---@return orcs.Sent[]
function orcs.send_to_children_batch(ids, inputs) end

--- Calls on_request of a component below.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled, timeout.
---@param target string
---@param operation string
---@param payload any
---@param opts? orcs.RequestOptions
---@return orcs.Responded
function orcs.request(target, operation, payload, opts) end

--- Several at once; results in order.
--- Fails with child_not_found, execution_failed, invalid_input, aborted, cancelled, timeout, too_large.
---@param requests orcs.Request[]
---@return orcs.Responded[]
function orcs.request_batch(requests) end

--- Seconds since 1970.
---@return number
function orcs.now() end

--- Other calls go on meanwhile.
---@param seconds number
function orcs.sleep(seconds) end

--- Calls them at once; what each returned, in order.
---@param fs (fun(): any)[]
---@param opts? orcs.GroupOptions
---@return any[]
function orcs.all(fs, opts) end

--- The same function of each.
---@param list any[]
---@param f fun(x: any, i: integer): any
---@param opts? orcs.GroupOptions
---@return any[]
function orcs.map(list, f, opts) end

--- What the first to end returned, and which that was.
---@param fs (fun(): any)[]
---@return any
---@return integer
function orcs.race(fs) end

--- What f returns, unless it takes longer.
--- Fails with timeout.
---@param seconds number
---@param f fun(): any
---@return any
function orcs.timeout(seconds, f) end

--- Returns when all that n:spawn began has ended.
---@param body fun(n: table): any
---@return any
function orcs.nursery(body) end

--- n:spawn of the nursery around.
---@param f function
---@vararg any
function orcs.spawn(f, ...) end

--- JSON's value; null is orcs.null.
---@param text string
---@return any
function orcs.json_parse(text) end

--- JSON text, members in order.
---@param value any
---@return string
function orcs.json_encode(value) end

--- TOML's value, of 64 KiB at most; dates are texts.
---@param text string
---@return table
function orcs.toml_parse(text) end

--- The same.
---@param text string
---@return table
function orcs.parse_toml(text) end

--- TOML text, members in order.
---@param value table
---@return string
function orcs.toml_encode(value) end

--- A file's front matter (YAML or TOML) and what follows it.
--- Needs `fs.read`.
--- Fails with path_not_allowed, not_found, not_a_file, not_a_directory, too_large, io, parse_error, not_supported, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param path string
---@return orcs.Frontmatter
function orcs.parse_frontmatter(path) end

--- The same of a text.
--- Fails with parse_error, too_large, not_supported.
---@param text string
---@return orcs.Frontmatter
function orcs.parse_frontmatter_str(text) end

--- What the chunk returns; it runs here, as this script.
---@param source string
---@param name? string
---@return any
function orcs.load_lua(source, name) end

--- What the code returns in a VM of its own that holds nothing.
--- Fails with too_large, exhausted, script_error, deadline_exceeded, not_supported.
---@param code string
---@return orcs.Evaluated
function orcs.sandbox_eval(code) end

--- No control characters?
--- Fails with invalid_input.
---@param s string
---@return orcs.Sanitized
function orcs.sanitize_arg(s) end

--- A relative path without a way up?
--- Fails with invalid_input.
---@param s string
---@return orcs.Sanitized
function orcs.sanitize_path(s) end

--- Nothing that means something to a shell?
--- Fails with invalid_input.
---@param s string
---@return orcs.Sanitized
function orcs.sanitize_strict(s) end

--- Which paths the globs match; *, ? and **.
---@param patterns string|string[]
---@param paths string|string[]
---@return orcs.Globbed
function orcs.glob_match(patterns, paths) end

--- Its SHA-256 in hexadecimal.
---@param text string
---@param algorithm? string
---@return string
function orcs.hash(text, algorithm) end

--- A random UUID; unique, no secret.
---@return string
function orcs.uuid() end

--- Characters.
---@param s string
---@return integer
function orcs.text.len(s) end

--- Its first characters, then the ending (…).
---@param s string
---@param max integer
---@param ending? string
---@return string
function orcs.text.truncate(s, max, ending) end

--- The parts between the separators.
---@param s string
---@param separator string
---@param max? integer
---@return string[]
function orcs.text.split(s, separator, max) end

--- Pieces of about so many tokens, cut where a reader would.
---@param s string
---@param opts? orcs.ChunkOptions
---@return string[]
function orcs.text.chunks(s, opts) end

--- Marks a table as a list, also when it is empty.
---@param t table
---@return table
function orcs.array(t) end

--- A line on stdout; inside on_delta without its end.
---@param text string|number
function orcs.output(text) end

--- As output; with a level as log.
---@param text string
---@param level? string
function orcs.emit_output(text, level) end

--- Levels: trace, debug, info, warn, error.
---@param level string
---@param text string
function orcs.log(level, text) end

--- As log.
---@param text string
---@param level string
function orcs.output_with_level(text, level) end

--- Onto my board and those above; false if it is over 16 KiB.
---@param category string
---@param operation string
---@param payload any
---@return boolean
function orcs.emit_event(category, operation, payload) end

--- The last events, mine and those from below.
---@param n? integer
---@return orcs.Event[]
function orcs.board_recent(n) end

--- Whether the VM at a path below me lives.
---@param path string
---@return boolean
function orcs.is_alive(path) end

--- A child in the upstream's words.
--- Needs `spawn`.
--- Fails with capability_widening, already_exists, invalid_script, max_children_reached, max_depth_reached, execution_failed, permission_denied, approval_denied, approval_timeout, capability_expired, capability_revoked, budget_exceeded, concurrency_limit, rate_limit, invalid_options.
---@param spec orcs.RunnerSpec
---@return orcs.Runner
function orcs.spawn_runner(spec) end

--- Watches my calls under grants; may look or deny.
--- Fails with invalid_options.
---@param spec string|orcs.HookSpec
---@param handler? fun(context: orcs.HookContext): table?
---@return orcs.Hooked
function orcs.hook(spec, handler) end

--- Takes a hook of mine away.
--- Fails with not_found.
---@param id string
---@return orcs.Result
function orcs.unhook(id) end

--- Closes me once this run is done.
---@return orcs.Result
function orcs.request_stop() end

--- What I hold: constraints, used, remaining.
---@return table<string, orcs.Held>
function orcs.caps() end

--- Asks the host's approver for a grant, below its ceiling.
--- Fails with permission_denied, capability_widening, approval_denied, approval_timeout, invalid_options.
---@param kind string
---@param constraints? table
---@param reason? string
---@return orcs.Granted
function orcs.request_capability(kind, constraints, reason) end

--- What the gate would say.
---@param kind string
---@param detail? table
---@return boolean
---@return orcs.Decision
function orcs.can(kind, detail) end
