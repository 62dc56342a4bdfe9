"""Mail threads and letters."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_THREAD = """
== blocks 1-1

once
- From: {our_person} <{email}> // To: {our_person_b} <{email_b}>[ // Cc: {person_c}|] // Date: {date}, {time} //
  Subject: [Re: |]{our_event}[ and other things|]
- From: {our_person} // Sent: {date} {time} // To: {our_person_b} // Subject: [RE: |AW: |]{our_event}
our_person? Who [wrote|sent] the [first mail|mail at the top|newest mail]?
our_person_b? [To whom|Who] is the [first|newest] mail addressed[ to|]?
email? What is the mail address of {our_person}?
person_c? Who [got a copy|was in copy] of the [first|newest] mail?
date? When did {our_person} send the mail about the {our_event}?

== blocks 4-6

once
- [Dear|Hi|Hello] {our_person_b}, // // [small change|one correction|please note]: the {our_event} has moved from
  {weekday} to {weekday_b}[, {time} as before|]. [The reason: {reason}.|]
- [Dear|Hi|Hello] {our_person_b}, // // the {our_event} is now on {weekday_b} instead of {weekday}, at {time}[ in
  the {room}|].
weekday_b? [When|On which day] is the {our_event}[ now|]?
weekday? On which day was the {our_event} [at first|originally]?
time? At what time [is the {our_event}|does the {our_event} start]?
reason? Why was the {our_event} [moved|changed]?

- [Could you|Please|Would you] {task} [by|before] {date}? [It is urgent, as {reason}.|{person} can help you.|]
date? By when should {our_person_b} {task}?
person? Who can help [with it|to {task}]?
reason? Why is it urgent to {task}?

- [I have spoken to|I met|I heard from] {person} [of|at|from] {company}: they [ask|want] {amount} for the
  {component}[, delivery in {duration}|].
person? [Who from|Which person at] {company} [did {our_person} talk to|named the price]?
company? [Which company|Who] offers the {component}?
amount? How much does {company} [want|ask] for the {component}?
duration? How long does {company} need to deliver?

- [The {thing} is|You will find the {thing}] in the {room}; [{person} has the key|ask {person} for it].
room? [Where is|Where can {our_person_b} find] the {thing}?
person? [Who has the key|Whom to ask] for the {thing}?

- [Our|The] order {ticket} ({count} {food}) [arrived|was sent|is due] on {date}.
ticket? What is the [number of the order|order number] for {food}?
count? How many {food} were ordered?
date? What is the date of the order of {food}?

- By the way, {person} [has a new number: {phone}|can now be reached at {email}].
phone? [What is|what's] {person}'s [new number|phone number]?
email? How can {person} be reached[ by mail|]?

- [My train|My flight] [arrives|gets in] at {time} [in|at] {town}; [{person} will pick me up|I will take a taxi].
time? When does {our_person} arrive?
town? Where does {our_person} arrive?
person? Who will pick {our_person} up?

* [I hope you are well.|Thanks for your patience.|Sorry for the late reply.]
* [Let me know if that works for you.|More on this soon.]

== blocks 1-1

once
- [Best|Kind regards|All the best|Cheers], // {our_person} // {job}, {company} // {address}, {town} // [Tel.|Phone]
  {phone}
job? What is {our_person}'s [job|position]?
company? [Which company|Where] does {our_person} work[ for|]?
phone? What is {our_person}'s [phone|telephone] number?
phone? phone {our_person}
town? In which town is {our_person}'s office?

== lines 4-7: On {date}, {our_person_b} wrote: / ----- Original message from {our_person_b} ----- / {our_person_b}
  wrote on {date}:

- > [I thought|In my calendar] the {event} [was|is] on {date}. [Is that right?|]
date? On what date is the {event}[ according to {our_person_b}|]?

- > [How much did|What did] {company} charge for {topic}? [Last year it was {amount}.|]
amount? What did {company} charge for {topic} last year?

- > {person} [told me|said] that {opinion}.
person? Who [said|thinks] that {opinion}?

- > We are {count} people for the {event}, [{count_b} of them vegetarian|two by car].
count? How many people [are coming to|are there for] the {event}?
count_b? How many vegetarians are there at the {event}?

- >> [The {event} costs|Tickets for the {event} are] {amount}, [to be paid by {date}|payable on {date}]. // > [That
  is too much|Fine with me].
amount? How much does the {event} cost?
date? When must the {event} be paid?

- > [Please say hello to|Greetings to] {person}[, who has moved to {town}|].
town? Where has {person} moved?

== lines 1-1

once
- > [Yours|Regards] // > {our_person_b}[, {town}|, {phone}|]
phone? What is {our_person_b}'s number?
town? Where is {our_person_b} based?
"""

_LETTER = """
== blocks 1-2

once
- {our_person} // {address} // {town} // // {date} // // To {our_company}
address? [What is the address of|Where does] {our_person}[ live|]?
date? When was the letter written?
town? In which town does {our_person} live?

once
- [Your reference|Reference|Our file|Re]: {ticket}
ticket? =reference of the letter

== flow 6-9: Dear Sir or Madam, / Dear Ms {surname}, / Dear Mr {surname},

once
- [I am writing because|I have to complain that] {reason}.
reason? Why does {our_person} write[ the letter|]?

- On {date} I [bought|ordered] a {thing} [for|at the price of] {amount}[ in your shop in {town}|].
date? When did {our_person} [buy|order] the {thing}?
amount? How much did the {thing} cost?
town? Where did {our_person} buy the {thing}?

- [Your colleague|Your employee] {person} promised [me |][a refund|an answer] within {term}.
person? Who [made a promise|promised something]?
term? Within what time did {person} promise [a refund|something]?

- [After {duration}|Only {duration} later] the {component} [broke|failed|fell off].
duration? After how long did the {component} [break|fail]?

- [I ask you to|Please] [pay|refund|send] {amount} [by|before] {date}.
amount? How much [does {our_person} want|should be paid]?
date? By when should {our_company} pay?

- My account is {ticket} at {company}.
ticket? What is {our_person}'s account[ number|]?
company? Which bank does {our_person} have?

- You can [reach|call] me on {phone} [after|before] {time}.
phone? [Which|What] number can {our_person} be reached at?
time? When can {our_person} be [reached|called]?

- [My {relation} {person}|My {relation}, {person},] [was there|is my witness|saw it all].
person? Who [was|is] the [witness|other person there]?
relation? How is {person} related to {our_person}?

* I [have been a customer for years|am very disappointed|hope for a quick answer].

== lines 1-1

once
- Yours [faithfully|sincerely], // {our_person}
our_person? Who [wrote|signed] the letter?
"""

KINDS = (read_kind("thread", _THREAD), read_kind("letter", _LETTER))
