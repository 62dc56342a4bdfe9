"""Manuals: man pages, configuration, README files, and instructions for machines."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_OPTIONS = """
- {short}, {option} // {^effect}.[ [Default|The default is]: {setting_value}.|]
- {option}={code_noun} // [This option will {effect}|{^effect}]. [If it is not given, {setting_value} is
  used.|Since version {version}.|]
- {option} [ARG|N|FILE] - {effect} (default: {setting_value})
option? [Which|What] [option|flag|switch] [{effect~}|should I use to {effect}]?
option? [How do I|how can I|How to] {effect}?
option? option to {effect}
setting_value? What is the default [of|for|value of] {option}?
setting_value? {option} default
effect? What does {option} do?
effect? [what is {option} for|What is the purpose of {option}|meaning of {option}]?
version? Since which version is there {option}?
short? What is the short form of {option}?
"""

_MAN = (
    """
== lines 1-1

once
- NAME // {our_command} - {our_effect} // // SYNOPSIS // {our_command} [OPTION]... [FILE]...
our_effect? What does {our_command} do?

== blocks 1-1: DESCRIPTION

once
- {our_command} reads {code_noun}s from {path} and writes to {path_b} unless told otherwise. It needs at least
  {size} of memory.
path? [From which file|Where] does {our_command} read?
path_b? Where does {our_command} write[ to|]?
size? How much memory does {our_command} need?

== blocks 6-11: OPTIONS
"""
    + _OPTIONS
    + """
== lines 3-4: EXIT STATUS AND FILES / FILES / ENVIRONMENT

- {path} - [configuration|settings] of {code_noun}s
path? [Which file|Where] are {code_noun}s configured[ in|]?

- {variable} - {meaning}
variable? [Which environment variable|What variable] sets {meaning~}?
meaning? What does {variable} set?

- Exit status {digit}: {error}.
digit? What is the exit status for "{error}"?
error? What does exit status {digit} mean?

== lines 2-3: AUTHOR / NOTES / BUGS

once
- Written by {person}. [Report|Send] bugs to {email}.
person? Who [wrote|is the author of] {our_command}?
email? [Where|To which address] [do I|can I] report bugs?

once
- See also {command}(1), {command_b}(8). Version {version}, {date}.
version? [Which|What] version is [described|this]?
date? What is the date of this version?
"""
)

_CONFIGURATION = """
== flow 2-3

once
- {our_product} reads its [settings|configuration] from {path} [at startup|when it starts]. Values in {path_b} take
  precedence.
path? [Where|In which file] are the settings of {our_product}?
path_b? Which file takes precedence?

once
- After a change, run `{command} reload`[; a restart takes about {seconds}|].
command? Which command do I run after a change?
seconds? How long does a restart take?

once
- The [admin|default] account is {handle}; its first password is {hexid}.
handle? What is the [admin|default] account called?
hexid? =first password of the account

== lines 6-12: Settings / Parameters / Configuration keys

- {setting} ([default|default value] {setting_value}): {meaning}.[ Allowed: {digit} to {number}.|]
- {setting} = {setting_value} # {meaning}
- | {setting} | {setting_value} | {meaning} |
- {setting}: {meaning}. [Must not be larger than {number}.|Requires {version} or later.]
setting? [Which|What] [key|setting|parameter] [sets|controls|is for] {meaning~}?
setting? How do I change {meaning~}?
setting_value? What is the [default|default value] of {setting}?
setting_value? default for {setting}
meaning? What [does {setting} set|is {setting} for|does {setting} mean]?
number? =largest value of {setting}
version? Which version does {setting} require?

- {variable} [overrides|replaces] {setting}[ (deprecated since {version})|].
variable? Which [environment |]variable [overrides|replaces] {setting}?
setting? What does {variable} override or replace?
version? Since when is {variable} deprecated?

== flow 2-4: Limits / Restrictions / Sizing

- [At most|No more than|Up to] {number} {code_noun}s [per {code_noun_b} |][are allowed|can be open at once].
number? [How many|What is the largest number of] {code_noun}s [are allowed|can there be]?

- A {code_noun} may [have|take] up to {size}[; larger ones are rejected with status {status}|].
size? How [large|big] may a {code_noun} be?
size? maximum {code_noun} size
status? Which status do I get if a {code_noun} is too large?

- {^code_noun}s [expire|are deleted|are kept for|time out] after {term}.
term? [How long are|After how long do] {code_noun}s [kept|expire]?
"""

_README = """
== flow 2-3: # {our_brand} / {our_brand} / README

once
- {our_brand} is a [small|fast|simple] [library|tool|server] [written|that is written] in
  [Rust|Go|Python|C|Kotlin|OCaml] that helps you {goal}.
goal? What [does {our_brand} help you do|is {our_brand} for]?

once
- It was [started|begun|first written] by {person} [in {year}|at {company}][ and is licensed under the
  {licence} licence|].
person? Who [started|maintains|wrote|made] {our_brand}?
year? When [was {our_brand} started|did {our_brand} begin]?
company? At which company was {our_brand} made?
licence? [Which|What] licen[s|c]e does {our_brand} have?

== steps 3-5: ## Installation / ## Getting started / ## Quick start

- Install {code_noun} {version} or [later|newer].
version? Which version of {code_noun} [do I need|is needed|is required]?

- [Download|Get] the archive from {url}.
url? Where [do I|can I] get the archive?

- Run `{command} {option}` to {goal}.
command? [Which|What] command [should I run|do I use] to {goal}?
option? Which option is needed to {goal}?

- Set {variable} to [your key|{port}|{path}].
variable? Which [environment |]variable [must|do I have to] be set[ to|]?
path? What should {variable} be set to?

- Open http://localhost:{port} in your browser.
port? Which port [does the page use|do I open in the browser]?

== blocks 4-7: ## Usage / ## How to / ## Commands

- To {goal}, run `{command} {word} {option}`.[ This takes about {minutes}.|]
- `{command} {option}` [lets you|is used to] {goal}.
option? [Which option do I need|What option] to {goal~}?
command? [How do I|Which command helps me|What do I run to] {goal~}?
minutes? How long does it take to {goal}?

- If you see "{error}", [run `{command} {option}`|delete `{path}`|set {variable}=1].
command? What [should I run|do I do] if I see "{error}"?
path? What should I delete if I see "{error}"?
variable? Which variable helps against "{error}"?
error? Which message means that `{path}` should be deleted?

- The {code_noun} [plugin|backend|module] [supports|works with] {brand}, {brand_b} and {brand_c}.
- Tested with {brand} {version} and {brand_b} {version_b}.
version? Which version of {brand} was it tested with?
version_b? Which version of {brand_b} was it tested with?

== list 3-4: ## Changes / ## Changelog / ## Releases

- {version} ({date}): [new|added] {option}[, thanks to {person}|]
version? [In which version|Which release] [was|brought] {option}[ added|]?
date? When was {version} released?
person? Who contributed {option}?

- {version} ({date}): [fixed|fix] "{error}" [on start|in {code_noun}|]
version? Which version fixed "{error}"?
date? When was "{error}" fixed?

== flow 1-2: ## Help / ## Contact / ## Contributing

once
- [Questions|Bugs]? [Write to|Mail] {email} or ask in #{code_noun}.
email? [Where can I ask questions|What address do I write to|contact]?

once
- Security problems go to {email}; we answer within {term}.
email? Where do I report security problems?
term? How soon are security reports answered?
"""

_APPLIANCE = """
== flow 3-4: Safety and setting up / Before first use / About this device

once
- [Thank you for choosing the {our_product}|The {our_product} is made by {company}].[ Read this booklet before you
  start.|]
company? Who makes the {our_product}?

- Keep [a distance of|at least] {height} [to|from] [the wall|curtains|other devices].
height? How much distance [should|must] there be[ around the device|]?

- The tank holds {digit} litres; the {component} weighs {weight}.
weight? How heavy is the {component}?
digit? How many litres does the tank hold?

- [Do not run it for more than|Let it cool after] {minutes}, because {reason}.
minutes? For how long may it run[ at most|]?
reason? Why should it not run longer?

- Use it at [temperatures up to|no more than] {temperature}.
temperature? [Up to what temperature|How hot] can it be used?

== steps 4-6: First steps / How to start / Assembly / Operation

- [Push|Slide|Insert] the {component} into the [slot|holder] until it clicks.
component? What [is pushed|goes] into the [slot|holder]?

- [Press|Hold] the [round|square|left|upper] {colour_word} button for {seconds}.
colour_word? What colour is the button to press?
seconds? How long [must|do I have to] the button be held?

- Wait {minutes} until the {component} is [warm|ready|quiet].
minutes? How long [does it take|do I wait] until the {component} is ready?

- Fasten the {component} with the {digit} [screws|bolts] marked {ticket}.
digit? How many screws hold the {component}?
ticket? How are the screws of the {component} marked?

== blocks 4-6: Troubleshooting / If something is wrong / Problems and remedies

- {^symptom}: {remedy}.
- [If|When] {symptom}, {remedy}.
- | {symptom} | {remedy} |
remedy? What [should I do|can I do|do I do] [if|when] {symptom}?
remedy? {symptom}, what now
symptom? When should I {remedy}?

== lines 4-7: Keys / Keyboard shortcuts / Controls

- {key_combo} - {action}
- {key_combo}: {action}
key_combo? [Which|What] key[s|] [{action}|do I press to {action~}]?
key_combo? How do I {action~}?
action? What does {key_combo} do?

== lines 4-6: Technical data / Specifications / Data sheet

- [Power|Power consumption|Rated power]: {digit} W
digit? What is the power consumption?

once
- Weight: {weight}
weight? How [heavy is the {our_product}|much does the {our_product} weigh]?

once
- [Cable|Cord] length: {height}
height? How long is the [cable|cord]?

once
- [Warranty|Guarantee]: {term}
term? How long is the [warranty|guarantee]?

once
- [Service|Hotline|Spare parts]: {phone}, {company_b}, {town}
phone? =number of the service
town? Where is the service?

once
- Part number of the {component}: {ticket}
ticket? =part number of the {component}
"""

KINDS = (
    read_kind("man", _MAN),
    read_kind("configuration", _CONFIGURATION),
    read_kind("readme", _README),
    read_kind("appliance", _APPLIANCE),
)
