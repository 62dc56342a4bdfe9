"""Logs: of systems, applications, web servers, builds, and the timeline of an incident."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_SYSLOG = """
== lines 12-22

- {stamp} {our_host} sshd[{pid}]: Accepted [publickey|password] for {handle} from {ip} port {port} ssh2
stamp? [When|At what time] did {handle} log in?
ip? [From which|From what] [IP|IP address|address] did {handle} [log in|connect]?
handle? [Who|Which user] logged in from {ip}?
port? From which port did {handle} connect?

- {stamp} {our_host} sshd[{pid}]: Failed password for [invalid user |]{handle} from {ip} port {port} ssh2
stamp? When did the login of {handle} fail?
ip? [From which IP|Where] did [somebody try to log in as {handle}|the failed login as {handle} come from]?
handle? Which user failed to log in from {ip}?

- {stamp} {our_host} kernel: [{pid}.{pid}] {code_noun}: {error}
- {stamp} {our_host} {service}[{pid}]: error: {error}
error? [What error|Which error] did {service} [report|log]?
stamp? When was "{error}" [logged|reported]?
service? Which [service|process] reported "{error}"?

- {stamp} {our_host} systemd[1]: [Started|Stopped|Restarted] {service}.[service|timer] - {project} {code_noun}.
- {stamp} {our_host} systemd[1]: {service}.service: [Failed with result|Main process exited, result]
  '[exit-code|signal|timeout]', restart counter is at {digit}.
stamp? [When|At what time] [did something happen to|was there a change of] {service}?
digit? [How many times was|What is the restart counter of] {service}[ restarted|]?

- {stamp} {our_host} CRON[{pid}]: ({handle}) CMD ({path} {option})
handle? [Who|Which user] [runs|ran] {path}?
path? [Which|What] [script|file] did cron run for {handle}?
option? With which option [is|was] {path} [run|called]?
stamp? When did cron run {path}?

- {stamp} {our_host} dhcpd: DHCPACK on {ip} to {handle}-laptop via eth{digit}
ip? [Which|What] [address|IP] did {handle}-laptop get?
handle? Whose laptop got {ip}?

- {stamp} {our_host} smartd[{pid}]: Device /dev/sd[a|b|c|d|e]: Temperature changed to {temperature}
temperature? What is the temperature of the device?

- {stamp} {our_host} sudo: {handle} : TTY=pts/{digit} ; PWD=/home ; USER=root ; COMMAND=/usr/bin/{command}
command? What [command |]did {handle} run as root?
handle? Who ran {command} as root?
stamp? When was {command} run as root?

* {stamp} {our_host} systemd[1]: Reached target Multi-User System.
* {stamp} {our_host} {service}[{pid}]: [ok|heartbeat|nothing to do|reload done]
"""

_APPLICATION = """
== lines 12-22

- {stamp} [INFO|DEBUG] [{service}|{code_noun}] [Listening on|bound to|server started at] {ip}:{port}
- {stamp} INFO {service} starting, version {version}, port={port}
port? [Which|What] port does {service} [listen on|use]?
version? [Which|What] version of {service} [was started|is running]?
ip? On which address does {service} listen?

- {stamp} [ERROR|FATAL|WARN] {service} {error} [(request {hexid})|after {seconds}|]
- {stamp} ERROR {service}: {error} file={path}
error? [Which error|What error|What] did {service} [log|report]?
service? [Which|What] service [logged|failed with|reported] "{error}"?
stamp? [When|At what time] did {service} [fail|report an error]?
hexid? Which request failed in {service}?
path? Which file is named in the error of {service}?
seconds? After how long did {service} fail?

- {stamp} INFO {service} processed {number} {code_noun}s in {seconds}
- {stamp} INFO {service} [batch|job] finished: {code_noun}s={number} skipped={count} took={seconds}
number? How many {code_noun}s did {service} process?
count? How many {code_noun}s [were|did {service}] [skipped|skip]?
seconds? How long did {service} [take|need] for the {code_noun}s?
service? Which service processed {number} {code_noun}s?

- {stamp} WARN {service} [disk|memory|heap|queue] usage at {percent}[ on {host}|]
percent? How [full|high] [was|is] the usage of {service}?
host? On which host was the usage of {service} measured?
stamp? When did {service} warn about its usage?

- {stamp} INFO auth user={handle} action=[login|logout|password_reset|role_change] ip={ip}
ip? [Which|What] IP did {handle} [have|use]?
handle? Which user had the IP {ip}?
stamp? When was {handle} active?

- {stamp} INFO config {setting} changed from {digit} to {digit_b} by {handle}
handle? Who changed {setting}?
digit_b? [What is {setting} now|To what was {setting} changed|What is the new value of {setting}]?
digit? What was {setting} before[ the change|]?
stamp? When was {setting} changed?

- {stamp} WARN {service} retry {digit} of {digit_b}: upstream {host} [timed out|returned {status}]
host? [Which|What] upstream [failed|timed out] for {service}?
status? [What|Which] status did the upstream of {service} return?
digit_b? How many retries does {service} allow?

- {stamp} INFO deploy {project} {version} (commit {hexid}) by {handle}
version? Which version of {project} was deployed?
hexid? [What|Which] commit of {project} was deployed?
handle? Who deployed {project}?
stamp? When was {project} deployed?

* {stamp} DEBUG {service} [heartbeat ok|cache hit|gc pause 12ms|poll]
"""

_ACCESS = """
== lines 9-17

- {ip} - {handle} [{stamp}] "[GET|POST|PUT|DELETE] /{code_noun}/{file} HTTP/1.1" {status} {number}
ip? [From which address|From what IP] was {file} requested?
status? [Which|What] status [code |]was returned for {file}?
handle? [Who|Which user] requested {file}?
file? [Which|What] file did {handle} request?
number? How many bytes were sent for {file}?
stamp? When was {file} requested?

- {ip} - - [{stamp}] "GET /{code_noun}?page={digit} HTTP/2" {status} {number} "{url}"
  "[Mozilla/5.0|curl/8.4|python-requests/2.31|Googlebot/2.1]"
url? [Which|What] page referred {ip}?
digit? Which page number did {ip} request?
status? status for {ip}

- [error] {stamp} client {ip}: {error}, host: {host}
error? [What|Which] error did client {ip} [cause|get]?
ip? Which client got "{error}"?
host? For which host was "{error}" logged?

* {ip} - - [{stamp}] "GET /favicon.ico HTTP/1.1" 404 0
"""

_BUILD = """
== lines 2-2

once
- [Build|Pipeline|Job] #{number} of {our_project} [on branch|branch:] {our_code_noun}/{our_hexid}
  [triggered|started] by {handle} at {stamp}
- Running {command} {version} // Runner: {host} // Triggered by: {handle}
handle? Who [triggered|started] the build?
number? =build number
host? [Where|On which host|On which runner] did the build run?
version? Which version of {command} was used?

== lines 9-16

- [{stamp}] [Compiling|Building] {code_noun}-{code_noun_b} version {version} ([{seconds}|{path}])
version? [Which|What] version of {code_noun}-{code_noun_b} was [built|compiled]?
seconds? How long did {code_noun}-{code_noun_b} take to build?

- [warning|Warning|WARN]: {file}:{digit}: [unused|deprecated|shadowed] {code_noun} `{hexid}`
digit? [On which line|In which line|Where] in {file} is the warning?
file? Which file [has|uses] `{hexid}`?

- [error|Error|E]: {file}:{digit}: {error}
error? [What is wrong in|What error is in|What is the error in] {file}?
file? [Which|In which] file [has the error|is the error] "{error}"?
digit? In which line of {file} is the error?

- [test|PASS|ok] {code_noun}_{code_noun_b} ... [{seconds}|{count} assertions]
- FAIL {code_noun}_{code_noun_b} ([after {seconds}|{error}])
seconds? How long did the test {code_noun}_{code_noun_b} [take|run]?
error? Why did the test {code_noun}_{code_noun_b} fail?
count? How many assertions has {code_noun}_{code_noun_b}?

- [Downloading|Fetching|Downloaded] {code_noun}-{version}.tar.gz ({size}) from {host}
size? How [big|large] is the {code_noun} [download|archive]?
host? Where is {code_noun} downloaded from?
version? Which version of {code_noun} is downloaded?

- [Cache|cache] [restored|saved]: {code_noun} ({size}, key {hexid})
hexid? [What is|Which is] the key of the {code_noun} cache?
size? size of the {code_noun} cache

* ...
* [Step done|Nothing to do|Entering directory {path}].

== lines 2-3: Summary / Result / --- summary ---

once
- {number} tests, {count} failed, {count_b} skipped[, {minutes}|]
- Tests: {number} total, {count} failed, {count_b} skipped. Time: {minutes}
number? How many tests [were there|are there|were run][ in total|]?
count? How many tests failed?
count_b? How many tests were skipped?
minutes? How long did the tests take?

once
- Coverage: {percent} ([was|before:] {percent_b})
percent? [What is the coverage|How high is the coverage|coverage]?
percent_b? What was the coverage before?

once
- [Artifact|Package] [written to|uploaded to|stored in] {path} ({size})
path? Where [is|was] the [artifact|package] [stored|written]?
size? How big is the [artifact|package]?
"""

_INCIDENT = """
== lines 2-2

once
- [Incident|INCIDENT|Post-mortem] {ticket}: {our_service} [outage|unavailable|data loss] // [Severity|Priority]:
  [high|critical|medium|low] // [Commander|Lead]: {person}
person? Who [led the response|was incident commander|was in charge of the incident]?
ticket? =incident number
ticket? What is the identifier of the {our_service} incident?

once
- [Date|Day]: {date} // [Duration|Downtime]: {duration} // [Customers|Users] affected: {number}
duration? How long [did the incident last|was {our_service} down]?
number? How many [customers|users] were affected?
date? When did the incident happen?

== lines 7-12: Timeline / What happened / Events

- {stamp} - {member} [notices|sees|reports] {error} on {host}
- {stamp} {member} [posts|writes] that {host} shows "{error}"
member? Who [noticed|reported|saw] {error}?
host? [On which host|Where] was "{error}" seen?
stamp? When was {error} noticed?

- {stamp} - {member} [restarts|rolls back|scales up|fails over] {service}[; no effect|; errors fall to {percent}|]
percent? To what did errors fall after the change to {service}?
member? Who [worked on|touched] {service}?
stamp? When was something done to {service}?

- {stamp} - [{member} calls|Call to|{member} pages] {person}, [on call for|who is responsible for] {topic}
person? Who is [on call|responsible] for {topic}?
stamp? When was {person} called?

- {stamp} - [alert|alarm]: {service} [latency|error rate|lag] above [{seconds}|{percent}]
seconds? How high was the latency of {service}?
percent? What was the error rate of {service}?
stamp? When did the alarm for {service} go off?

- {stamp} - {member} [blocks|unblocks] {ip} at the {code_noun} gateway
ip? Which address did {member} block or unblock?
member? Who acted on {ip}?

- {stamp} - [first thought|suspicion]: {code_noun} {code_noun_b} >> {stamp_b} - {member} finds the [real |]cause:
  {reason}
reason? [What was the real cause|What caused the incident|Why did it happen]?
member? Who found the [real cause|cause]?
stamp_b? When was the [real |]cause found?

- {stamp} - [status page updated|message to customers] by {member}
member? Who updated the status page or wrote to customers?

== flow 3-4: Cause and follow-up / Root cause / Lessons

- {member} [will|is to] {task} by {date}.
member? Who [will|has to] {task~}?
date? By when will {member} {task}?

- The {code_noun} limit was {digit}; it is now {digit_b}.
digit_b? What is the {code_noun} limit now?
digit? What was the {code_noun} limit?

- The [alarm|alert] on {code_noun}s came {minutes} late because {reason}.
minutes? How late was the alarm on {code_noun}s?
reason? Why did the alarm on {code_noun}s come late?
"""

KINDS = (
    read_kind("syslog", _SYSLOG),
    read_kind("application", _APPLICATION),
    read_kind("access", _ACCESS),
    read_kind("build", _BUILD),
    read_kind("incident", _INCIDENT),
)
