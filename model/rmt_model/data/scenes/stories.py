"""Short narratives with dialogue: who has what, who went where, and what turned out to be otherwise."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_DEEDS = """
- {person} [took|picked up|carried off] the {thing} and [went|walked|ran] to the {room}. [There {he} met
  {person_b}|{person_b} was already there].
- [When the others had left|In the evening|Early next day], {person} went to the {room}. {^he} had the {thing}
  [under {his} arm|in {his} pocket|in a bag].
room? [Where did {person} go|Where did {person} take the {thing}]?
person? Who [had|took|has] the {thing}?
person? Who went to the {room}?
person_b? [Whom did {person} meet|Who was] in the {room}?

- {person} [came in late|sat by the window|looked tired]. [It was {he} who|{^he} was the one who] {deed}.
- It was {person} who [knew|understood] first: the one who {deed} [the night before|years ago|on {weekday}].
- [In {year}|One {weekday}|Long before], {person} {deed}. [Nobody noticed.|{person_b} saw it.]
person? Who {deed}?
person? [who was it that|Which person] {deed~}?
weekday? On which day was it that {person} {deed}?
person_b? Who saw [what {person} did|that {person} {deed}]?
year? When was it that {person} {deed}?

- {person} [gave|handed|passed] the {thing} to {person_b}, who [put|hid|left] it in the {room}.
- "[Take this|Keep this for me]," {person} said and gave {person_b} the {thing}. {person_b} put it in the {room}.
person_b? [To whom did {person} give|Who got|Who was given] the {thing}?
person? [Who gave the {thing} to {person_b}|From whom did {person_b} get the {thing}]?
room? Where [did {person_b} put|is] the {thing}?

- "{^opinion}," [said|whispered|muttered] {person}. {person_b} [laughed|nodded|said nothing].
- "{^opinion}." {person} [put down the {thing}|shook {his} head]. "[Believe me|Mark my words]," {he} [added|went on].
person? Who said that {opinion}?
opinion? What did {person} say[ to {person_b}|]?
person_b? Who heard {person} say that {opinion}?
thing? What did {person} put down?

- "[When|What day] does the {event} begin?" asked {person}. "[At {time}|On {weekday}]," [said|answered] {person_b}.
- "Is the {event} still at {time}?" {person} wanted to know. "No," said {person_b}, "at {time_b} now."
time_b? When does the {event} [begin|start] now?
time? At what time [did {person} think the {event} was|was the {event} planned at first]?
weekday? On which day does the {event} begin?
person? Who asked about the {event}?
person_b? Who [told|answered] {person} about the {event}?

- A [tall|young|thin|grey-haired] [stranger|visitor|traveller] [knocked|stood at the gate] and asked for
  {person_b}. >> The [stranger|visitor|traveller] turned out to be {person}[, a {job} from {town}|].
person? Who was the [stranger|visitor]?
person_b? Whom did the [stranger|visitor] ask for?
town? Where did the [stranger|visitor] come from?
job? What was the profession of the [stranger|visitor]?

- {person} had moved to {town} in {month}. >> "No, it was {month_b}, not {month}," [someone|{person_b}] said about
  {person}'s move.
month_b? [When|In which month] did {person} move to {town}?
town? [Where did {person} move|To which town had {person} moved]?
person_b? Who corrected the month of {person}'s move?

- Everyone [thought|believed] that the {thing} belonged to {person}. >> [As it turned out|In truth|But], the
  {thing} belonged to {person_b}[, {his} {relation}|].
person_b? [Who really owned the {thing}|Whose was the {thing}|To whom did the {thing} belong]?
person? Who was thought to own the {thing}?

- {person} was {person_b}'s {relation}[ and worked as a {job} in {town}|].
- {person}, a {job}[ of {age}|], was the {relation} of {person_b}.
relation? [What was|How was] {person} to {person_b}?
job? What [did {person} do for a living|was {person}'s job]?
person? Who was {person_b}'s {relation}?
age? How old was {person}?
town? Where did {person} work?

- {person} [did not come|stayed at home|left early], because {reason}.
- "Why are you [late|crying|back so soon]?" {person_b} asked {person}. "{^reason}," {he} said.
reason? [Why, in {person}'s case|What explains what {person} did]?
reason? What was {person}'s reason?
person_b? Who asked {person} why?

- {person} paid {amount} for the {thing}[, though it was worth {amount_b}|].
amount? How much did {person} pay for the {thing}?
amount_b? How much was the {thing} worth?
thing? What did {person} [buy|pay {amount} for]?

- {person} and {person_b} [met|quarrelled|danced] in {town}. {person} wore [a|the] {colour_word} [coat|hat|scarf],
  {person_b} a {colour_word_b} one.
colour_word? What colour did {person} wear?
colour_word_b? What colour did {person_b} wear?
town? [In which town|Where] did {person} see {person_b}?

- The {animal} was called {brand}; it [belonged to|followed|obeyed only] {person}.
brand? What was the {animal} called?
person? Whose was the {animal}?

* {remark}
"""

_DIARY = """
== lines 1-1

once
- [Diary|Notebook|Journal] of {our_person}, {our_town}, {year}
our_person? Whose diary is it?
year? From which year is the diary?

== blocks 7-11

- {date}. [Walked|Drove|Cycled] to {town} with {person}. [It took {duration}.|{^weather}.|We were {count}.]
person? With whom did {our_person} go to {town}?
date? When was {our_person} in {town}?
duration? How long did it take to get to {town}?
town? Where did {our_person} go with {person}?
weather? What was the weather like on the way to {town}?

- {date}. {person} [called|wrote|came by]: {reason}. [I must remember to {task}.|]
person? Who [told {our_person}|said] that {reason}?
reason? What [did {person} report|news did {person} bring]?
task? What must {our_person} remember after hearing from {person}?

- {date}. [Bought|Sold|Found|Lost] the {thing}[, {amount}|]. {person} [is pleased|will be angry|does not know yet].
date? When does the diary mention the {thing}?
amount? How much was the {thing}?
person? Who is named in connection with the {thing}?

- {date}. [I wrote that {person} is {age}|{person}'s age is {age}, I thought]; [wrong|no]: {age_b}.
age_b? How old is {person}[ really|]?

- {date}. {^person} {deed}. [I did not say a word.|I laughed.]
person? Who {deed~}?
date? When was it that {person} {deed}?

- {date}. Dinner: {dish}, made by {person}[ with {food}|].
dish? What did {person} cook?
person? Who made the {dish}?
food? What was in the {dish}?

* [Slept badly.|Nothing to report.|Read all evening.]
"""

KINDS = (
    read_kind("narrative", "== flow 9-16\n" + _DEEDS),
    read_kind("dialogue", "== blocks 8-14\n" + _DEEDS),
    read_kind("diary", _DIARY),
)
