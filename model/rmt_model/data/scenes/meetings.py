"""Transcripts and minutes of meetings."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_TALK = """
- {at}{member}: [So, who|Who] [is going to|can|will] {task}? // {at}{member_b}: [I can do that|I'll take it|Leave
  it to me], [by {date}|by the end of {month}].
- {at}{member}: [We still need somebody to|Somebody has to] {task}. // {at}{member_b}: [Fine, I'll do it|That's me,
  then|Put my name down].
- {at}{member}: {member_b}, could you {task}[ before {date}|]? // {at}{member_b}: [Sure|Of course|Yes, no problem].
member_b? Who [will|is going to|offered to|has to] {task~}?
member_b? [who takes care of this: {task}|Who said they would {task}|Whose job is it to {task}]?
date? By when [will somebody|must somebody|should they] {task}?
date? When does {member_b} have to {task~}[ by|]?
member_b? person who will {task~}

- {at}{member}: [How much|What] [did we pay for|does it cost to get|is the price of] the {component}? //
  {at}{member_b}: [About|It was|Roughly|Just under] {amount}[, if I remember rightly|, plus tax|].
- {at}{member}: What's the [damage|quote] for the {component}? // {at}{member_b}: {company} wants {amount}[, and
  delivery takes {duration}|].
amount? [How much [does|did] the {component} cost|How much [is|was] the {component}|What do they pay for the
  {component}]?
amount? price of the {component}[?|]
company? [Who|Which company] [quoted for|wants money for|offers] the {component}?
duration? How long [does|will] delivery of the {component} take?
member? Who [asked about|wanted to know] the [price|cost] of the {component}?
member_b? Who [knew|gave|named] the price of the {component}?

- {at}{member}: [When|On what day] is the {event}? // {at}{member_b}: [It's on|They set it for|On] {date}[ at
  {time}|], [in|at] the {room}.
- {at}{member}: Do we have a date for the {event}? // {at}{member_b}: [Yes, |]{date}. // {at}{member_c}: [And it's
  in the {room} again|{^time}, in the {room}].
date? [When|On what date] [is the {event}|does the {event} take place|will the {event} be]?
date? =date of the {event}
room? [Where|In which room] [is the {event}|will the {event} be|will the {event} be held]?
time? [At what time|What time] does the {event} [start|begin]?
member? Who [asked|wanted to know] when the {event} is?

- {at}{member}: [I think|To be honest,|In my view] {opinion}.
- {at}{member}: [My feeling is that|If you ask me,|I still say] {opinion}. // {at}{member_b}: [I'm not so sure|I
  see it differently|Hm, maybe].
- {at}{member}: {^opinion}. // {at}{member_b}: [Agreed|Exactly|Good point].
member? [Who|Which speaker] [said|thinks|believes|argued] that {opinion}?
member? who was it that said {opinion}
member_b? Who [replied|answered] when {member} said that {opinion}?

- {at}{member}: Why [was the {event} moved|did we postpone the {event}|did they move the {event}]? //
  {at}{member_b}: Because {reason}.
- {at}{member}: [I don't get why the {event} was cancelled|What happened to the {event}]? // {at}{member_b}:
  {^reason}[, that's why|, so they had to call it off|].
reason? Why [was the {event} postponed|did they put off the {event}|was the {event} cancelled|did they move the
  {event}]?
reason? [What was the reason for|What caused] [moving|cancelling|the change of] the {event}?
member_b? Who explained [why the {event} was moved|what had happened to the {event}]?

- {at}{member}: How many [people|guests|visitors] [signed up for|are coming to|do we expect at] the {event}? //
  {at}{member_b}: {^count}[ so far|, maybe more|]. // {at}{member}: And last year? // {at}{member_b}: {^count_b}[,
  I think|].
count? How many people [signed up for|are expected at|are coming to] the {event}[ this year|]?
count_b? How many [were at|came to|had signed up for] the {event} last year?

- {at}{member}: [The {event} is on {weekday}, right|So the {event} stays on {weekday}]? // {at}{member_b}: No,
  [they moved it to|it is now on] {weekday_b}[ because {reason}|].
weekday_b? [When|On which day] is the {event}[ now|]?
weekday_b? which weekday is the {event}
weekday? What day did {member} [think|believe] the {event} was on?

- {at}{member}: [Where do we keep|Has anybody seen|Where is] the {thing}? // {at}{member_b}: [In|It's in|Look in]
  the {room}[, next to the {component}|].
room? [Where is|Where do they keep|In which room is] the {thing}?
member? Who was looking for the {thing}?
member_b? Who [knew|said] where the {thing} is?

- {at}{member}: [Which|What] [supplier|company] [did we pick|do we use] for {topic}? // {at}{member_b}: {company}.
  [They were cheaper than {company_b}|{company_b} was too slow].
company? [Which company|Who] [was chosen|did they pick|is used] for {topic}?
company? =supplier for {topic}
company_b? Which company [was not chosen|lost out] for {topic}?

- {at}{member}: [What's the number of|Can I have the number of] the {topic} ticket? // {at}{member_b}: {ticket}.
ticket? =number of the {topic} ticket
member_b? Who [gave|knew] the number of the {topic} ticket?

* {at}{member}: [Okay|Right|Good]. [Let's move on|Next point|Anything else on this]?
* {at}{member}: [Sorry, I was on mute|Can you hear me now|You're breaking up]. // {at}{member_b}: [Yes, all
  good|Now it works].
* {at}{member}: [Mm-hm|Yeah|Right, right|Thanks].
"""

_TRANSCRIPT = (
    """
== blocks 1-1

once
- [Transcript|TRANSCRIPT|Recording]: {our_project} [weekly|team call|sync], {date} //
  [Participants|Present|Speakers]: [see below|team and guests]
- {our_company} - {our_project} [call|meeting], {date} // Recorded by {person}
date? [When was|On what day was] the {our_project} [call|meeting] [recorded|held]?
person? Who recorded the {our_project} [call|meeting]?

== lines 6-13
"""
    + _TALK
)

_MINUTES = """
== lines 2-3

once
- [Minutes of|MINUTES:|Minutes -] the {our_event} // {our_company}, {room}, {date}, {time} [to|-] {time_b}
- [Minutes|Meeting notes]: {our_event} // Date: {date} // Place: {room} // Start: {time} // End: {time_b}
date? [When|On what date] [was the {our_event} held|did the {our_event} take place]?
room? [Where|In which room] was the {our_event} held?
time? [When|At what time] did the {our_event} [start|begin]?
time_b? [When|At what time] did the {our_event} end?

once
- [Chair|Chaired by|In the chair]: {person} // [Minutes|Note-taker|Secretary]: {person_b} //
  [Apologies|Excused|Absent]: {person_c}[ (ill)| (on leave)| (travelling)|]
- [Present|Attending]: {person} (chair), {person_b} (minutes), {member}, {member_b} // [Apologies|Excused]: {person_c}
person? [Who [chaired|led] the {our_event}|Who was in the chair]?
person_b? Who [took the minutes|wrote the minutes|was the note-taker]?
person_c? Who [was absent|sent apologies|did not attend|could not come]?
person? chair of the meeting

== list 4-7: Discussion / Items / Points discussed / Agenda items

- [{^topic}: |]{member} [reported|told the meeting|explained] that {opinion}. {^he} [proposed|suggested] to
  {task}[, which was agreed|].
- {^topic}: {member} [suggested|moved] to {task}. {member_b} was [against it|not convinced], since {reason}.
member? Who [suggested|proposed|had the idea] to {task~}?
member_b? Who [was against|opposed|objected to] the [proposal|idea] to {task}?
member? Who [said|reported] that {opinion}?
reason? Why was {member_b} against the [plan|proposal] to {task}?

- [Vote|Motion|Resolution]: to {task}. [In favour|For]: {count}; against: {count_b}; [abstained|abstentions]:
  {count_c}.
- The [motion|proposal] to {task} was [carried|passed|rejected] with {count} votes [for|in favour], {count_b}
  against and {count_c} abstentions.
count? How many [voted for|voted in favour of|supported] the [motion|proposal] to {task}?
count_b? How many [voted against|opposed] the [motion|proposal] to {task}?
count_c? How many [abstained|abstentions were there] on the [motion|proposal] to {task}?

- [The budget for|Spending on] {topic} [rises|goes up|is raised] from {amount} to {amount_b}[ because {reason}|].
amount_b? [What is the new budget for|How much may be spent now on] {topic}?
amount? [What was the budget for {topic} before|How much was spent on {topic} until now]?
reason? Why [does|did] the budget for {topic} [rise|go up]?

- [The {event} is planned for|It was decided to hold the {event} on] {date} [in|at] {town}[; {member} is in
  charge|]. >> [Correction on the {event}|The {event}, corrected]: [it is|the date is] {date_b}, not {date}.
date_b? [When|On what date] is the {event}[ really| now|]?
date_b? =date of the {event}
town? [Where|In which town] [is the {event}|will the {event} take place]?
member? Who [is in charge of|organises|runs] the {event}?

- {member} [showed|presented] the [numbers|results] for {topic}: {percent} [of members|of customers] are
  [satisfied|in favour], [up from|down from|against] {percent_b} [last year|in {month}].
percent? What [share|percentage] is [satisfied with|in favour of] {topic}[ now|]?
percent_b? What was the [share|percentage] for {topic} [before|the last time]?
member? Who [presented|showed] the [numbers|results] for {topic}?

* [There was a short break|Coffee was served|The sound failed for a moment].
* No further comments[ were made|].

== list 3-6: Action items / To do / Actions / Decisions and tasks

- {^task} [- {member}, [due|by] {date}|({member}, [due|by] {date})]
- {member}: {task} [by|until|before] {date}
- [Action|AI]: {member_b} to {task} [with help from|together with] {member}
- {member} [will|to] {task}[, no date set|]
date? [By when [must|should] {member}|What is the deadline to|When is it due to] {task}?
member? [Who [must|will|has to|is supposed to]|Whose task is it to] {task~}?
member? Who [is responsible for this|does this]: {task}?

== lines 1-1

once
- Next [meeting|session]: {date}, {time}, {room}.
- [The next meeting is|We meet again] on {date}[ at {time}|] in the {room}. [Closed at {time_b}|The chair closed
  the meeting].
date? [When is the next meeting|date of next meeting|When do they meet again]?
room? [Where is the next meeting|Where will they meet next]?
time? [What time is the next meeting|At what time do they meet next]?
"""

_PARLIAMENT = """
== blocks 2-3

once
- [HOUSE OF ASSEMBLY|COUNCIL OF {our_town}|OFFICIAL REPORT] // {date} // The [Speaker|President|Mayor], {person},
  took the Chair at {time}.
person? Who took the Chair[ in the debate|]?
time? [When|At what time] did the sitting [begin|start]?
date? date of the sitting

once
- {surname} ([Labour|Green|Liberal|Independent|Conservative]): [To ask the Minister|I ask the council] how many
  [permits|licences|grants] for {topic} were [issued|refused] in {town}. // The [Minister|Councillor], {person}:
  The number is {number}. [In the year before it was {number_b}.|]
number? How many [permits|licences|grants] for {topic} were there in {town}?
person? Who answered the question on {topic} in {town}?
surname? Who asked about {topic} in {town}?

== blocks 5-9

- {person} [(North)|(South)|(East)|(West)|]: I [beg to move|move] that this House [approves|rejects] the
  [bill|order] on {topic}. [It would save {amount} a year.|The cost is put at {amount}.]
amount? [How much would the bill on {topic} save or cost|What is the amount named for the {topic} bill]?
person? Who moved [the bill|the order|the motion] on {topic}?

- {person}: Will the Minister say why the {event} in {town} was [cancelled|put off]? // {person_b}: {^reason}. //
  {person}: I am [grateful|not satisfied with that answer].
reason? Why was the {event} in {town} [cancelled|put off|not held]?
person? Who asked about the {event} in {town}?
person_b? Who [answered|replied] on the {event} in {town}?

- The [House|Council] divided[ on {topic}|]: Ayes {count}, Noes {count_b}. [Question accordingly agreed to|The
  motion was lost].
count? How many [Ayes|votes in favour] were there on {topic}?
count_b? How many [Noes|votes against] were there on {topic}?

- {person}: In my constituency, {town}, {opinion}. [Is the Minister aware of that?|That cannot go on.]
town? [What is the constituency of|Which town does] {person}[ represent|]?
person? [Who represents {town}|Whose constituency is {town}]?

- {person}: The [fund|grant|subsidy] for {topic} [ends|begins|is paid] on {date}. >> {person_b}: [On a point of
  order, the|The] [fund|grant|subsidy] for {topic} [ends|begins|is paid] on {date_b}, not {date}.
date_b? [When does the fund for {topic} start or end|What is the right date for the {topic} fund]?
person_b? Who corrected the date of the {topic} fund?

* [Interruption.|Hear, hear.|Order, order.]
* [The Speaker|The President]: Order. [The hon. Member will be heard|I call the next speaker].
"""

_INTERVIEW = """
== blocks 1-2

once
- [Interview|INTERVIEW|Q & A] with {our_person}, {job} [at|of] {our_company}, {town}, {date}
date? When was the interview with {our_person}?
job? What [does {our_person} do for a living|is {our_person}'s profession]?
town? Where was {our_person} interviewed?

== blocks 6-10

- Q: [Where did you grow up|Where were you born]? // A: In {town}[, and later in {town_b}|].
town? Where [did {our_person} grow up|was {our_person} born]?

- Q: [How did you come to|What brought you to] {topic}? // A: [Through my {relation}, {person}|{person}, my
  {relation}, took me along]. [I was {age} then.|]
person? Who [brought|introduced] {our_person} to {topic}?
age? How old was {our_person} when {our_person} came to {topic}?

- Q: What was the {event} like? // A: [Terrible|Wonderful|Strange]: {reason}. [We had {count} guests.|We still
  earned {amount}.]
reason? What [went wrong|happened] at the {event}?
count? How many guests were at the {event}?
amount? How much was earned at the {event}?

- Q: How long did [it take to|you have to wait to] {task}? // A: {^duration}. [I had thought {duration_b}.|]
duration? How long did it take to {task~}?
duration_b? How long did {our_person} expect it to take to {task}?

- Q: [Who helped you|Who did you work with] on {topic}? // A: [Mostly |]{person}[, a {job}|, who is my {relation}|].
person? Who helped [with|on] {topic}?
job? What is the profession of the person who helped with {topic}?

- Q: [What do you think of|Any thoughts on] {topic}? // A: [Simple:|Well,] {opinion}.
opinion? What does {our_person} [think of|say about] {topic}?

* Q: [Really|You are joking|And then]? // A: [Yes|Not at all|That is another story].
"""

KINDS = (
    read_kind("transcript", _TRANSCRIPT),
    read_kind("minutes", _MINUTES),
    read_kind("parliament", _PARLIAMENT),
    read_kind("interview", _INTERVIEW),
)
