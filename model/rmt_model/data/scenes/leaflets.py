"""Recipes, itineraries, timetables, product pages, questions and answers, biographies and obituaries."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_RECIPE = """
== flow 2-3: {our_dish} / Recipe: {our_dish} / {person}'s {our_dish}

once
- [Makes|Gives|Is cut into] {count} [pieces|portions]. [Ready in|Takes] {minutes}.
count? How many [pieces|portions] does it make?
minutes? How long does the {our_dish} take?

once
- [My {relation} {person}|{person}, my {relation},] brought [it|the recipe] from {town}[ in {year}|].
person? [From whom|Who] [is the recipe|brought the recipe]?
town? [Where does the recipe come from|From where was the recipe brought]?
year? When was the recipe brought?

once
- {^price} a portion, {number} [kcal|calories].
number? How many calories does a portion have?
price? How much does a portion cost?

== list 6-10: Ingredients / You need

- {grams} {food}
- {food}, {grams}
- {grams} of {food}[, or {food_b}|]
grams? How [much|many] {food} [do I need|are needed|is needed]?
grams? {food}, how much
food_b? What can I [use|take] instead of {food}?

== steps 6-9: Method / Preparation / How to make it

- [Chop|Peel|Grate|Wash] the {food}[ and set aside for {minutes}|].
minutes? How long is the {food} set aside?

- [Fry|Boil|Roast|Simmer] the {food} for {minutes}[ at {oven}|].
minutes? How long [are the {food} cooked|must the {food} cook]?
oven? At what temperature are the {food} cooked?
food? What is cooked for {minutes}?

- [Add|Stir in] the {food} [when|once] the {food_b} [is|are] [soft|golden|dry].
food? What is added when the {food_b} is ready?

- [Bake|Leave in the oven] at {oven} for {minutes}.
oven? [At what oven|How hot] is it baked?
minutes? How long [is it baked|must it stay in the oven]?

- Sprinkle with {food} and serve with {food_b}.
food_b? What is it served with?
food? What is sprinkled on top?

* [Taste and season.|Keep stirring.|Wash up while you wait.]

== flow 1-2

once
- [Correction|Note]: it serves {few}, [not {few_b} as printed before|not {few_b}].
few? For how many is the recipe according to the [note|correction]?

once
- It keeps for {term} in the fridge.
term? How long does it keep?
"""

_TRAVEL = """
== flow 2-3: [Itinerary|Travel plan|Tour] {ticket} / {our_town} tour, {year} / Trip to {our_town}

once
- [Guide|Tour leader]: {person}, {phone}. [Group of {count}.|]
person? Who [leads the tour|is the guide]?
phone? =number of the guide
count? How [large|big] is the group?

once
- Price: {price} [per person|each], [single room|insurance] {price_b} extra.
price? How much does the [tour|trip] cost?
price_b? How much is the extra charge?

once
- [Booking|Reservation] code: {ticket}. [Book by {date}.|]
ticket? =booking code
date? By when must one book?

== lines 6-10: Programme / Day by day / Schedule

- {date}: {town} - [hotel|hostel|guest house] {brand}[, {address}|]. [Dinner: {dish}.|Breakfast at {time}.]
brand? [Which hotel|What hotel|Where] [is booked|does the group sleep] in {town}?
date? When is the group in {town}?
dish? What is for dinner in {town}?
time? When is breakfast in {town}?
address? What is the address of the {brand}?
town? Where [is the group|will the group be] on {date}?

- {time} [bus|train|ferry] to {town}, [platform|gate|bay] {digit}, [arrives|arrival] {time_b}[, {price}|]
- {town} - [dep.|departure] {time}, [arr.|arrival] {time_b}, [track|platform] {digit}
time? When does the [bus, train or ferry|connection] to {town} leave?
time_b? [When|What time] does it arrive in {town}?
digit? From which platform, gate or bay does it leave for {town}?
price? How much is the ticket to {town}?

- [Visit to|Guided tour of] the {adjective_word} {place_word} with {person} ({duration})
person? Who [shows|guides through] the {adjective_word} {place_word}?
duration? How long is the visit to the {adjective_word} {place_word}?

- [Change|Update]: the [bus|train|ferry] to {town} leaves at {time}, not at {time_b}.
time? When does it leave for {town}[ now|]?

- [Meeting point|We meet] on {weekday}: {room} of the {place_word}, {time}
place_word? Where is the meeting point on {weekday}?
time? When does the group meet on {weekday}?

== list 3-4: Good to know / Notes / What to bring

- Bring [your|a] {thing}[, as {reason}|].
reason? Why should one bring the {thing}?

- [Currency|Tips|Water]: about {price} a day.
price? How much money is needed a day?

- Emergency number in {town}: {phone}
phone? =emergency number in {town}

- [Expect|On average] {outdoor} in {town} in {month}.
outdoor? [What temperature|How warm] is it in {town}[ in {month}|]?
"""

_PRODUCT = """
== flow 4-6: {our_product} by {our_company} / {our_product} - product page

once
- The {our_product} [costs|is available for] {price}[ instead of {price_b}|].
price? How much [is the {our_product}|does the {our_product} cost]?
price_b? What was the old price?

once
- It is made of {material} [in {town}|] and weighs {weight}.
material? What is [it|the {our_product}] made of?
weight? How [heavy is it|much does it weigh]?
town? Where is [it|the {our_product}] made?

once
- Designed by {person}[, who won the {brand} Prize in {year}|].
person? Who designed [it|the {our_product}]?
brand? Which prize did the designer win?
year? When did the designer win the prize?

once
- The battery lasts {duration}[ and charges in {minutes}|].
duration? How long does the battery last?
minutes? How long does it take to charge?

once
- Delivery [takes|within] {term}, free from {price}.
term? How long does delivery take?
price? From which amount is delivery free?

== lines 4-6: Models / Variants / Compare

- {product}: {price}, {weight}, {material}
- | {product} | {price} | {weight} | {colour_word} |
price? =price of the {product}
weight? What does the {product} weigh?
material? What is the {product} made of?
colour_word? What colour is the {product}?
product? Which model [costs|is available for] {price}?

== blocks 3-5: Reviews / What customers say

- {person} ([five|four|three|two] stars): "[Great|Good|Fine], but {symptom}."
symptom? What does {person} complain about?
person? Who complains that {symptom}?

- {person} from {town}: "[Works well|No problems] for {term} now. [I use it for {topic}.|]"
term? How long has {person} had it?
topic? What does {person} use it for?
town? Where is {person} from?

== blocks 4-6: Questions and answers / FAQ / Frequently asked questions

- Q: [What if|What can I do when] {symptom}? // A: {^remedy}.
remedy? What [can I do|helps] [if|when] {symptom}?

- Q: How long is the warranty [of|on] the {component}? // A: {^term}.
term? warranty on the {component}

- Q: Who [repairs|replaces] the {component}? // A: {company}[, {town}|][, for {price}|].
company? Who repairs or replaces the {component}?
price? What does it cost to have the {component} repaired or replaced?

- Q: [Can I return it|Is there a refund]? // A: Yes, within {term}[, if you keep the {thing}|].
term? Within what time can it be returned?
"""

_LIFE = """
== flow 2-3: {our_full_name} ({year}-{year_b}) / In memory of {our_full_name} / The life of {our_full_name}

once
- {our_full_name} was born in {town} [in {year}|on {date}] as the {ordinal} of {few} children.
town? Where was {our_full_name} born?
year? [In which year|When] was {our_full_name} born?
date? On which day was {our_full_name} born?
few? How many children [were there in the family|did the parents have]?

once
- The father, {father}, was a {job}; the mother, {mother}, a {job_b}.
father? [Who was the father|What was the father's name]?
mother? [Who was the mother|What was the mother called]?
job? What did the father do?
job_b? What was the mother's profession?

== flow 7-11

- In {year}, {our_full_name} [moved to|went to|settled in] {town}[, where {person} taught {subject}|, to study
  {subject}].
year? When did {our_full_name} go to {town}?
town? Where did {our_full_name} [go|move] in {year}?
subject? What was [taught|studied] in {town}?
person? Who taught in {town}?

- From {year} to {year_b} came the years at {company}, as a {job}.
company? [Where|For which company] did {our_full_name} work as a {job}?
job? As what did {our_full_name} work at {company}?
year? When did the work at {company} begin?
year_b? Until when did {our_full_name} work at {company}?

- [A first|A second|Another] book, "{brand} {event}", [appeared|came out] in {year}[ with {company}|] and sold
  {number} copies.
number? How many copies of "{brand} {event}" were sold?
year? When did "{brand} {event}" [appear|come out]?
company? Who published "{brand} {event}"?

- In {town}, {our_full_name} [founded|started] the {brand} [Society|Museum|School][ with {person}|] in {year}.
brand? What did {our_full_name} [found|start] in {town}?
person? [With whom|Who else] founded the {brand}?
year? When was the {brand} [society, museum or school |]founded?

- [The {brand} Prize|A medal of {brand}] followed in {year}, [for work on {topic}|worth {amount}].
year? When did {our_full_name} get the {brand} [prize|medal]?
topic? For what was the {brand} prize given?
amount? How much was the {brand} prize worth?

- [Colleagues|Friends|Pupils] like {person} [remember|speak of] a {virtue} [teacher|friend|mind].
person? Who remembers {our_full_name}?
virtue? How does {person} remember {our_full_name}?

once
- [For many years the year of the marriage was given as {year}|Older books date the marriage to {year}]; [it was in
  fact|letters show it was] {year_b}, to {person}.
year_b? [When|In which year] did {our_full_name} marry?
person? [Whom|Who] did {our_full_name} marry?
year? Which year was wrongly given for the marriage?

- [A stay in|Two years in] {town} [ended|came to an end] because {reason}.
reason? Why did the stay in {town} end?

* [Little is known of these years.|Letters of that time are lost.]

== flow 2-3

once
- {our_full_name} died [on {date}|in {year}] in {town} of {illness}[, aged {age}|].
date? When did {our_full_name} die?
town? Where did {our_full_name} die?
illness? [Of what|What] did {our_full_name} die[ of|]?
age? How old was {our_full_name}[ at the end| when death came|]?

once
- The [funeral|memorial service] is on {date} at {time} in {room}, {address}.
date? When is the [funeral|service]?
address? Where is the [funeral|service]?
time? At what time is the [funeral|service]?

once
- [Survivors are|Left behind are] {few} grandchildren and a {relation}, {person}.
few? How many grandchildren are there?
person? What is the name of the surviving {relation}?
"""

_PROGRAMME = """
== flow 2-2: {our_event}, {our_town} / Programme of the {our_event} / {our_town} {our_event}

once
- {date}, doors open at {time}, [entrance|tickets] {price}[, children {price_b}|].
date? When is the {our_event}?
time? When do doors open?
price? [How much is|What does] [a ticket|entrance][ cost|]?
price_b? How much do children pay?

once
- [Organised by|Host]: {company}, {person}, {phone}
company? Who [organises|hosts] it?
person? Who is the contact person?
phone? =number of the organiser

== lines 8-13: Timetable / Schedule / Programme

- {time} - {time_b} {event}, {room} ([with|led by] {person})
- {time} | {event} | {room} | {person}
- {^event}: {person}, {time}, {room}
time? When does the {event} [start|begin]?
time? {event} start time
time_b? When does the {event} end?
room? [Where|In which room] is the {event}?
person? Who [leads|gives|does] the {event}?
event? What [does {person} lead|is led by {person}|is {person} doing]?

- {time} [Talk|Lecture] by {person} ({company}): {topic}
person? Who speaks about {topic}?
topic? What does {person} speak about?
company? Which company is {person} from?
time? When is the [talk|lecture] on {topic}?

- Lunch: {dish} ({price}), {dish_b} ({price_b})
price? How much is the {dish}?
price_b? How much is the {dish_b}?

- [Cancelled|Not today]: {event}, because {reason}
event? What [is|has been] cancelled?
reason? Why is the {event} cancelled?

- {^event} [now at {time} (not {time_b})|moved from {time_b} to {time}]
time? When is the {event}[ now|]?

== flow 2-3: How to get there / Directions / Notes

- [Take bus {digit} from|It is {minutes} on foot from] the {place_word}.
digit? Which bus goes there from the {place_word}?
minutes? How long is the walk from the {place_word}?

- [Parking|Car park] at {address}, {price} a day.
address? Where can one park?
price? How much is parking?

- [Lost things|Lost children] are brought to {person} in the {room}.
person? Who takes care of lost things or children?
room? Where are lost things or children brought?
"""

KINDS = (
    read_kind("recipe", _RECIPE),
    read_kind("travel", _TRAVEL),
    read_kind("product", _PRODUCT),
    read_kind("life", _LIFE),
    read_kind("programme", _PROGRAMME),
)
