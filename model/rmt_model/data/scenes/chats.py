"""Chats: short lines, lower case, links, and answers in somebody else's line."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_WORK = """
- {at}{speaker}: [anyone knows|does anyone know|who knows] [which|what] port {service} [runs on|uses|listens
  on][?|] // {at}{speaker_b}: {port}[ iirc| i think|]
- {at}{speaker}: port of {service}? // {at}{speaker_b}: {port}. [it was {port_b} before|not {port_b} anymore]
port? [Which|What] port does {service} [use|run on|listen on]?
port? {service} port
port_b? Which port did {service} use before?
speaker_b? Who knew the port of {service}?

- {at}{speaker}: [where's|where is|link to] the {topic} [doc|sheet|page][?|] // {at}{speaker_b}: {url}
- {at}{speaker_b}: put the {topic} [doc|sheet|page] here: {url}
url? [Where is|What is the link to|Where can I find] the {topic} [doc|page|sheet]?
url? link to {topic} doc
speaker_b? Who [posted|shared] the {topic} [doc|link]?

- {at}{speaker}: [why is|whats wrong with] {service} [down|so slow|red][?|] // {at}{speaker_b}: {reason}[ lol| :(|
  again|]
- {at}{speaker}: {service} is [down|dead|slow] [again|:(] // {at}{speaker_b}: yeah {reason}. [back in
  {minutes}|give me {minutes}]
reason? Why [is|was] {service} [down|slow|not working]?
reason? what happened to {service}
minutes? How long until {service} is back?
speaker_b? Who [explained|found out] what is wrong with {service}?

- {at}{speaker}: [i'll|gonna|going to] {task} [tomorrow|tonight|on {weekday}|after lunch]
- {at}{speaker_b}: can someone {task}? // {at}{speaker}: [on it|me|ok will do][, {weekday} at the latest|]
speaker? Who [will|is going to|wants to] {task~}?
weekday? [When|On which day] will {speaker} {task}?

- {at}{speaker}: [deployed|pushed|rolled out] {project} {version} to {host}[, took {minutes}|]
- {at}{speaker}: {project} {version} is [live|out] [on {host}|now]
version? [Which version|What version] of {project} [was deployed|is live|went out]?
host? Where [was {project} deployed|did {project} go]?
speaker? Who [deployed|rolled out] {project}?
minutes? How long did the rollout of {project} take?

- {at}{speaker}: [how do i|how to|how can i] fix "{error}"? // {at}{speaker_b}: [run {command} {option}|set
  {variable} to {digit}|just restart {service}][, worked for me|]
- {at}{speaker}: getting "{error}" since {time} :( // {at}{speaker_b}: [upgrade to {version}|delete {path} and try
  again]
command? Which command fixes "{error}"?
variable? Which variable [fixes|helps against] "{error}"?
version? Which version fixes "{error}"?
path? [What|Which file] should be deleted [against|because of] "{error}"?
speaker? Who [has|had|got] the error "{error}"?
time? Since when does {speaker} get "{error}"?

- {at}{speaker}: [bug in|pls look at] {file}, [line {digit}|see {ticket}]
ticket? [Which ticket|What is the ticket number] for the bug in {file}?
digit? [In which line|On what line] is the bug in {file}?
speaker? Who [reported|found] the bug in {file}?

- {at}{speaker}: {project} freeze is on {date} // {at}{speaker_b}: [thought|i heard] {date_b}? // {at}{speaker}:
  nope, [moved|that was the old plan]
date? When is the {project} freeze[ now|]?
date_b? Which date [had {speaker_b} heard|did {speaker_b} think was right] for the {project} freeze?

* {at}{speaker}: [lol|brb|+1|afk|thx|np|same here|:D|coffee?|morning all]
* {at}{speaker}: [ok|nice|great], {url}
"""

_FRIENDS = """
- {at}{speaker}: [who's bringing|who brings] the {thing}[?|] // {at}{speaker_b}: [i can|me|i will][, {speaker_c}
  gets the {food}|]
speaker_b? Who [brings|is bringing|will bring] the {thing}?
speaker_c? Who [gets|brings|is getting] the {food}?

- {at}{speaker}: [whats|what is] the address of {person}? // {at}{speaker_b}: {address}[, {town}|], [ring twice|top
  floor|behind the bakery]
- {at}{speaker}: {person} moved btw // {at}{speaker_b}: where? // {at}{speaker}: {address}[, {town}|]
address? [Where does {person} live|What is {person}'s address]?
address? {person} address
town? In which town does {person} live?

- {at}{speaker}: [what time|when] is the {event}? // {at}{speaker_b}: {time}[ sharp|] [at|in] [the {room}|{town}]
  // {at}{speaker_c}: [and its {price} at the door|tickets are {price}]
- {at}{speaker}: {event} on {weekday}, {time}, who's in? // {at}{speaker_b}: [me|count me in|sure] //
  {at}{speaker_c}: [can't, sorry|no :( working]
time? [What time|When] [is the {event}|does the {event} start]?
weekday? On which day is the {event}?
price? How much [is the {event}|does the {event} cost]?
speaker_b? Who [will come|is coming] to the {event}?
speaker_c? Who can't [come|make it] to the {event}?

- {at}{speaker}: train [leaves|goes] at {time} from platform {digit} // {at}{speaker_b}: [isnt it|thought it was]
  {time_b}? // {at}{speaker}: no, [checked it|they changed it]
time? [When|At what time] does the train [leave|go]?
digit? From which platform does the train [leave|go]?

- {at}{speaker}: [sold|finally sold] my {thing} [for {price}|to {person}] [yay|:)|]
- {at}{speaker}: [bought|got] a {thing} [for {price}|from {person}] // {at}{speaker_b}: nice, [how much|where from]?
price? [How much was|What was the price of] the {thing}?
person? [Who was the other party|With whom did {speaker} make the deal] for the {thing}?
speaker? Who [told the others|wrote] about the {thing}?

- {at}{speaker}: my number is {phone}[ now|, the old one is dead]
phone? [What is|what's] {speaker}'s [phone |]number?
phone? number of {speaker}

- {at}{speaker}: [cant find|lost] the {thing} :( // {at}{speaker_b}: [it's in|look in|saw it in] the {room}[, under
  the {thing_b}|]
room? Where is the {thing}?
speaker_b? Who [saw|knows where] the {thing}[ is|]?
speaker? Who [lost|can't find] the {thing}?

- {at}{speaker}: we owe {person} {price} [for|because of] the {thing}
price? How much [is owed to|do they owe] {person}?
person? [Whom|Who] do they owe money for the {thing}?
thing? [For what|What] do they owe {person} money[ for|]?

- {at}{speaker}: wifi at {town} place: {hexid}
hexid? [What is the wifi password|wifi password] at the {town} place?

* {at}{speaker}: [haha|omg|<3|yesss|no way|k|see you|:-)|where are you??]
* {at}{speaker}: [pic|look at this]: {url}
"""

_SUPPORT = """
== lines 1-1

once
- Chat {ticket} with {our_brand} [support|customer care], {date} // {our_person}: [Hello|Hi], I [bought|ordered]
  the {our_product} and {symptom}.
ticket? =number of the chat
symptom? What is [wrong|the problem] with the {our_product}?
our_person? [Who|Which customer] has a problem with the {our_product}?

== lines 7-11

once
- Agent {our_surname}: [When|On which day] did you buy it? // {our_person}: On {date}, in {town}.
date? When did {our_person} buy the {our_product}?
town? Where did {our_person} buy the {our_product}?

once
- Agent {our_surname}: [May I have|Please tell me] the order number. // {our_person}: [It is|Sure,] {ticket}. >>
  {our_person}: Sorry, I misread it, the order number is {ticket_b}.
ticket_b? =order number

once
- Agent {our_surname}: Please {remedy}. // {our_person}: [Done. Nothing.|It still happens.|Now it beeps.]
remedy? What was {our_person} [told|asked] to do first?
remedy? What did the agent [suggest|advise]?

- {our_person}: How long is the [warranty|guarantee] on the {component}? // Agent {our_surname}: {^term}[, from the
  date of purchase|].
term? How long is the [warranty|guarantee] on the {component}?
term? guarantee {component}

- {our_person}: What does a new {component} cost? // Agent {our_surname}: {price}[ including delivery|]. [The part
  number is {ticket}.|]
price? How much [is a new {component}|does a new {component} cost]?
ticket? =part number of the {component}

once
- Agent {our_surname}: [To which address|Where] shall we send the [refund|parcel|spare part]? // {our_person}:
  {address}, {town}.
address? [To which address|Where] should [the parcel|it] be sent?

once
- {our_person}: And [when|how soon] will it arrive? // Agent {our_surname}: [Within|In] {term}. {company} delivers it.
term? [How soon|When] will it arrive?
company? Who delivers the [parcel|part]?

once
- Agent {our_surname}: You can reach me at {phone} [until|before] {time}.
phone? [What number|How] can the agent be reached[ at|]?
time? Until when can the agent be reached?

once
- {our_person}: Why did [nobody answer my mail|it take so long]? // Agent {our_surname}: I am sorry, {reason}.
reason? Why [did nobody answer|did it take so long]?

* {our_person}: [One moment please|Thank you|Okay].
* Agent {our_surname}: [Thank you for waiting|I am checking|I see].
"""

_HEAD = """
== lines 1-1

once
- [#{our_code_noun}-{our_brand}, {date}|--- {date} ---|channel: {our_code_noun}, topic: {our_topic}]
- [{date}|{weekday}] // *** {person} [joined|set the topic]
person? Who [joined|set the topic]?

== lines 10-18
"""

KINDS = (
    read_kind("work", _HEAD + _WORK),
    read_kind("friends", _HEAD + _FRIENDS),
    read_kind("support", _SUPPORT),
)
