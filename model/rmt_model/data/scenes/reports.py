"""Reports: of a quarter, of an inspection, of an accident, and from the field."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_QUARTER = """
== flow 1-1: {our_company}: [Q1|Q2|Q3|Q4] {year} report / Quarterly report of {our_company}

once
- [Revenue|Sales] [came to|were|reached] {amount}, [up|down] {percent} on the year before[, because {reason}|].
amount? [What was the revenue of {our_company}|How much did {our_company} sell]?
percent? By how much did revenue change?
reason? Why did revenue change?

== flow 5-8: 1. Business / Overview / Results by region

- In {town}, [profit|turnover] [rose|fell] [by {percent} |]to {amount}[ as {reason}|].
amount? [What|How much] was the [profit|turnover] in {town}?
percent? By [how much|what percentage] did the result in {town} [change|move]?
reason? Why did the result in {town} change?
town? [Where|In which town] [did the result reach|was it] {amount}?

- The {topic} [division|business], led by {person}, [employs|has] {number} people[ in {town}|].
person? Who [leads|heads|runs] the {topic} [division|business]?
number? How many [people|employees] [does the {topic} [division|business] have|work in the {topic}
  [division|business]]?
town? Where is the {topic} [division|business] located?

- [We opened|We closed] a [shop|plant|depot] in {town} [on {date}|in {month}][; it cost {amount}|].
date? When did something open or close in {town}?
amount? How much did the site in {town} cost?

- The {product} [sold|shipped] {number} [units|times], [against|compared with] {number_b} [a year ago|in the
  quarter before].
number? How many {product} were sold[ this time|]?
number_b? How many {product} were sold [a year ago|before]?

- [Complaints about|Returns of] the {product} [fell|rose] from {percent} to {percent_b}.
percent_b? [What is the share of complaints about the {product} now|To what did complaints about the {product}
  change]?
percent? What was the share for the {product} before?

* [The market remained difficult.|Exchange rates had little effect.|Details are in the annex.]

== lines 4-6: 2. Key figures / Figures / Table 1. Figures by unit

- {^topic}: {amount} ({percent})
- | {topic} | {amount} | {percent} |
amount? [What is the amount for|How much was spent on|How much is] {topic}[ in the table|]?
percent? =percentage for {topic}

- Staff in {town}: {number}
number? How many staff [are there|work] in {town}?

== flow 2-4: 3. Outlook / Outlook / Plans

- [We expect|The board expects] {^topic} to [bring|cost] {amount} [in {year}|by {date}].
amount? What amount is expected for {topic}?

- {person} [will succeed|takes over from] {person_b} as head of {topic} on {date}.
person? Who [will be|becomes] the [new |]head of {topic}?
person_b? Who was the [former|previous] head of {topic}?
date? When does {person} take over?

- A dividend of {amount} [will be paid|is proposed].
amount? [How much|How high] is the dividend?
"""

_INSPECTION = """
== lines 3-4: Inspection report {ticket} / INSPECTION / Survey of {address}

once
- [Site|Object]: {our_address}, {our_town}
our_address? What was inspected?

once
- Inspector: {person}[, {company}|]
person? Who [did|carried out] the inspection?
company? Which company does the inspector work for?

once
- Date: {date}, {time}, {weather}, {outdoor}
date? When [was the inspection done|did the inspection take place]?
weather? What was the weather like?
outdoor? =temperature during the inspection

once
- [Owner|Client]: {person}, [represented by|with] {person_b}
person? Who [is the owner|owns the site|ordered the inspection]?
person_b? Who represented the owner?

== list 7-11: Findings / Defects / Observations

- {^room}: {component} [defective|worn|missing|corroded], [to be replaced|repair] by {date}.
- The {component} in the {room} [is|was found] [loose|cracked|rusty][ because {reason}|]. [Grade {digit}.|]
room? [Where|In which room] is the [faulty |]{component}?
component? What is [wrong|broken|defective] in the {room}?
date? By when must the {component} be [replaced|repaired]?
reason? Why is the {component} in that state?
digit? What grade was given to the {component}?

- {^room}: [humidity|moisture] {percent}, [limit|allowed] {percent_b}.
percent? How [humid|damp] is the {room}?
percent_b? =limit for the {room}

- {^room}: {count} [lamps|seats|windows|doors], {count_b} [broken|without label].
count? How many items were counted in the {room}?
count_b? How many in the {room} are [faulty|broken or without label]?

- The last [service|test] of the {component} was on {date}[ by {company}|].
date? When was the {component} last [serviced|tested]?
company? Who [serviced|tested] the {component}?

- [Crack|Gap|Stain] in the wall of the {room}: {height}.
height? How [long|large] is the damage in the wall of the {room}?

* {^room}: no [defects|remarks].

== flow 3-4: Result / Assessment / Conclusion

once
- The [overall|total] [cost|estimate] is {amount}[; the {component} alone takes {amount_b}|].
amount? =overall cost of the repairs
amount_b? How much of it is for the {component}?

once
- [The next|A second] inspection [is due|will be] on {date}.
date? When is the next inspection?

once
- The {room} [must stay closed|may not be used] until {date}, since {reason}.
room? Which room [must stay closed|may not be used]?
reason? Why [must the {room} stay closed|may the {room} not be used]?
date? Until when must the {room} stay closed?
"""

_ACCIDENT = """
== flow 3-4: Report on the accident in {our_town} / Accident report {ticket}

once
- On {date} at {time}, [a fire|an accident|an explosion|a leak|a collision] [happened|occurred] in the {our_room}
  of {our_company} in {our_town}.
date? [When|On what date] did it happen?
time? At what time did it happen?
our_room? [Where|In which part of the building] did it happen?

once
- {^count} people were [hurt|injured], {count_b} of them [seriously|badly][; {person}, a {job}, is still in
  hospital|].
count? How many people were [hurt|injured]?
count_b? How many were [seriously|badly] hurt?
person? Who is still in hospital?
job? What is the profession of {person}?

once
- [At first|In the first hours] the [cause|reason] was thought to be that {reason}. >> [The investigation|The
  expert, {person},] found otherwise: {reason_b}.
reason_b? [What was the real cause|What caused it|Why did it happen]?
reason? What was first thought to be the cause?
person? Who found the real cause?

== flow 6-9: What happened / Course of events / Sequence

- At {time}, {member} [noticed|smelled|heard] [smoke|a noise|gas] in the {room}[ and called {phone}|].
member? Who noticed something in the {room}?
time? When was something noticed in the {room}?
phone? Which number was called from the {room}?

- {member} [switched off|removed|opened] the {component}[, because {reason}|]. {^he} was [wearing gloves|alone|on
  duty since {time}].
member? Who [handled|was at] the {component}?
reason? Why did {member} go to the {component}?
time? Since when was {member} on duty?

- The [fire brigade|ambulance|police] from {town} [arrived|came] [at {time}|after {minutes}] with {count}
  [men|vehicles].
time? When did the help from {town} arrive?
minutes? How long did the help from {town} take?
count? How many came from {town}?

- The {component} [reached|was at] {temperature}[; {temperature_b} is the limit|].
temperature? How hot was the {component}?
temperature_b? =temperature limit of the {component}

- Damage to the {room} [is put at|amounts to] {amount}[; {company} pays|].
amount? How [high is|much is] the damage to the {room}?
company? Who pays for the damage to the {room}?

- {^number} litres of [water|oil|paint] ran into the {room}.
number? How many litres ran into the {room}?

* [Nobody could say when the alarm began.|The doors were open.]

== list 3-5: Measures / Recommendations / Lessons

- [To |]{task} ({member}, {date})
member? Who [is to|must] {task~}?
date? By when [is it planned to|must they] {task}?

- [Check|Test] the {component} every {period}.
period? How often [should|must] the {component} be [checked|tested]?

- [Train|Teach] {count} [people|workers] in {topic}.
count? How many people should be trained in {topic}?
"""

_FIELD = """
== flow 2-2: Field notes / Survey diary, {our_town} / Notes from the reserve

once
- {date}, [start|out] at {time}, {weather}, {outdoor}. With {person}[ and {person_b}|].
date? What day are the notes from?
time? When did the walk start?
outdoor? =temperature at the start
person? Who came along?

once
- [The route is|We walk] {distance} [along the river|from {town} to {town_b}].
distance? How long is the route?
town? Where does the route begin?
town_b? Where does the route end?

== flow 9-14

- {time}: {count} {animal}s [near|by|north of] the {spot}[, {count_b} of them young|].
- {^count} {animal}s [counted|seen] at {time} by the {spot}; {count_b} of them young.
count? How many {animal}s were [seen|counted]?
count_b? How many of the {animal}s were [young|young ones]?
time? When were the {animal}s seen?
spot? Where were the {animal}s?

- [Nest|Den] of a {animal} in a {adjective_word} [oak|wall|bank], {height} above ground.
height? How high is the nest or den of the {animal}?

- [Sample|Probe] {ticket} taken [at|from] the {spot}: [pH {digit}|lead {percent}|nitrate {digit} mg].
ticket? [Which|What] sample was taken at the {spot}?
spot? Where was sample {ticket} taken?

- [I first took it for|It looked like] a {animal}, but [it was|{person} showed me it was] a {animal_b}.
animal_b? What [was the animal really|did the supposed {animal} turn out to be]?
person? Who knew that it was not a {animal}?

- {person} [of|from] {company} [told us|says] that {reason}.
person? Who from {company} was there?
reason? What did {person} [say|tell us]?

- The [water level|snow] at the {spot} is {height}[, {height_b} in {month}|].
height? What is the level at the {spot}[ now|]?
height_b? What was the level at the {spot} in {month}?

- [Lost|Left] the {thing} [by|at] the {spot}.
spot? Where was the {thing} [lost|left]?

* [Nothing new.|Wind picks up.|Short rest.|{^weather} again.]
"""

KINDS = (
    read_kind("quarter", _QUARTER),
    read_kind("inspection", _INSPECTION),
    read_kind("accident", _ACCIDENT),
    read_kind("field", _FIELD),
)
