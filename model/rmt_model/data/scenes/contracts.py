"""Contracts, licences and terms of use."""

from rmt_model.data.scenes.grammar import read_kind

__all__ = ["KINDS"]

_CONTRACT = """
== blocks 1-2: [SERVICE|LEASE|SUPPLY|CONSULTING] AGREEMENT / Contract {ticket} / FRAMEWORK AGREEMENT

once
- This [Agreement|Contract] is made on {date} between {our_company}, {address}, {town} (the
  "[Client|Customer|Buyer]") and {our_company_b}, {town_b} (the "[Supplier|Provider|Contractor]").
our_company? Who is the [client|customer] or buyer?
our_company_b? Who [is the supplier|provides the services|is the contractor]?
date? When was the [agreement|contract] [made|signed|concluded]?
address? [What is|Tell me] the address of {our_company}?
town_b? [Where is|In which town is] {our_company_b}[ based|]?

once
- {our_company} is represented by {person}, {our_company_b} by {person_b}.
person? Who represents {our_company}?
person_b? Who represents {our_company_b}?

== clauses 2-3: Definitions

- "{brand} [Data|Goods|Site|Services]" means {topic} and {topic_b}.
- "{brand} [Date|Deadline]" means {date}.
date? What date is the "{brand}" [Date|Deadline]?

- "[Working|Business] Hours" means {time} to {time_b} on working days.
time? When do working hours begin?
time_b? When do working hours end?

== clauses 4-7: Services and duties / Obligations / What the parties do

- {our_company_b} shall {duty} [at its own expense|within {term}].
- {our_company} [shall|has the duty to|undertakes to] {duty}.
term? Within what time must {our_company_b} {duty}?
our_company? Who [must|has to] {duty} according to the contract?

- {our_company_b} [delivers|shall deliver] the {component} [by|no later than] {date} to {address}.
date? [By when|When] must the {component} be delivered?
address? Where [is the {component} delivered|must the {component} be delivered]?

- Faults of the {component} [are|shall be] repaired within {term}; [after that|otherwise] a penalty of {amount} a
  day is due.
term? Within what time must faults of the {component} be repaired?
amount? What is the penalty [for|concerning] the {component}?

- [The contact person for {topic} is|Questions of {topic} go to] {person}, {email}.
person? Who is the contact[ person|] for {topic}?
email? What is the address for [questions|matters] of {topic}?

== clauses 3-5: Fees and payment / Price / Payment

- The {fee} is {amount} per {period}[, plus VAT|].
amount? How [much|high] is the {fee}?
amount? =amount of the {fee}
period? How often [is the {fee} due|must the {fee} be paid]?

once
- Invoices are payable within {term}[ of receipt|]. [Late payments bear interest at {percent}.|]
term? [Within what time|When] [must invoices be paid|are invoices payable]?
percent? [What is the interest on|How much interest is there on] late payments?

once
- {our_company} [may|can] deduct {percent} [if|where] it pays before {date}.
percent? How much [may|can] {our_company} deduct?

== clauses 4-6: Term, liability and other terms / General / Final provisions

once
- [The term is|This Agreement runs for] {term}[ from {date}|]. [It is renewed for {term_b} unless terminated.|]
term? How long does the [agreement|contract] [run|last]?
term_b? For how long is it renewed?

once
- [Either party may terminate|It can be ended] [with|on] {term} written notice[ to the end of a {period}|].
term? [What is the notice period|How long is the notice period|notice period]?
term? How much notice [must|has to] be given?

once
- [Liability|The liability of {our_company_b}] is limited to {amount}[ per event|].
amount? [To what amount|How much] is liability limited[ to|]?

once
- This [Agreement|Contract] is governed by {law}; [the courts of {town} have jurisdiction|disputes go to
  arbitration in {town}].
law? [Which law applies|What law governs this|governing law]?
town? [Where|Which courts] [are disputes settled|have jurisdiction]?

once
- The warranty [for|on] the {component} is {term}.
term? How long is the warranty on the {component}?

once
- Confidential information [must be kept secret for|is protected for] {term}[ after the end|].
term? How long must information be kept [secret|confidential]?

once
- [Amendment No. 1|By amendment of {date}]: the place of work is {town} instead of {town_b}.
town? =place of work
town_b? What was the place of work before[ the amendment|]?

== lines 1-1

once
- Signed: {person} (for {our_company}), {person_b} (for {our_company_b})
person? Who signed for {our_company}?
person_b? Who signed for {our_company_b}?
"""

_LICENCE = """
== blocks 1-1: {our_brand} Public License, version {version} / LICENSE / The {our_brand} Licence

once
- Copyright (c) {year} {our_person}[ and {company}|]
- Copyright {year}-{year_b}, {company}, [author|contact]: {our_person}
our_person? Who [holds the copyright|is the author|owns the copyright]?
year? [From which year|What year] is the copyright?
company? Which company [has|shares] the copyright?

== clauses 4-6: Permissions and conditions / Grant and conditions / What you may do

once
- Permission is granted to [use|copy|modify] the [software|work] [free of charge|for a fee of {amount}] [on up to
  {count} devices|].
amount? How much does [use|a licence] cost?
count? On how many devices may it be used?

once
- Redistributions [in source form|of the source] must [retain|include|keep] {notice}.
notice? What must be [included|kept] when redistributing the source?
notice? What do I have to include [if|when] I redistribute [the source|source code]?

once
- Redistributions [in binary form|without source] must reproduce {notice} in the [documentation|about box|manual].
notice? What must [a binary|binary] redistribution[s|] reproduce?

once
- Changed files must [carry|bear] {notice}.
notice? What must changed files [carry|contain]?

once
- The names of {our_person} or {company} may not be used to [promote|advertise] products without [written
  consent|prior permission].
company? Which company's name may not be used to promote products?

- [The file|Everything in] {path} is [under|covered by] the {licence} [licence|terms] instead.
licence? [Which|What] licence [applies to|covers] {path}?
path? [What|Which file or directory] is under the {licence} licence?

- [Use of the {code_noun} module|The {code_noun} module] requires [a key from|the consent of] {company}.
company? [Whose consent|From whom a key] is needed for the {code_noun} module?

- A copy of the source must be offered for at least {term}.
term? [For how long|How long] must the source be offered?

- You may [rent|lend|sell] copies in {country}, but not in {country_b}.
country? Where may copies be sold, rented or lent?
country_b? Where may copies not be sold, rented or lent?

== clauses 4-6: Warranty and end / Disclaimer / Limits

once
- The [software|work] is provided "as is", without warranty of any kind[, except for the {component}|].
component? For what is there a warranty?

once
- [In no event is liability|Liability is never] higher than {amount}.
amount? What is the [limit of liability|highest liability]?

once
- [This licence ends|Rights end] {term} after a breach [that is not cured|].
term? [When|How soon] does the licence end after a breach?

once
- {^law} apply. [Place of jurisdiction: {town}.|]
law? [Which|What] law applies?
town? =place of jurisdiction

once
- [Notices|Letters] go to {address}, {town}[, or {email}|].
address? [Where|To which address] are notices sent?
email? To which mail address can notices be sent?

- Patents: {company} grants a licence to patent {ticket} [until {date}|].
ticket? Which patent does {company} grant a licence to?
date? Until when does the patent licence of {company} run?

- Export to {country} [is forbidden|needs a permit] because {reason}.
country? Where is export [restricted|forbidden or needs a permit]?
reason? Why is export to {country} restricted?
"""

_TERMS = """
== blocks 1-1: Terms of use / House rules of the {our_place_word} / Rental conditions / Privacy notice

once
- These [rules|terms] of {our_company} [apply|are valid] from {date}.[ They replace those of {date_b}.|]
date? [From when|Since when] do [the rules|the terms] apply?
date_b? From when are the rules that were replaced?
our_company? Whose [rules|terms] are these?

== clauses 8-12

- The {room} is open [from {time} to {time_b}|until {time_b}][, on {weekday} only for members|].
time? When does the {room} open?
time_b? When does the {room} close?
weekday? On which day is the {room} only for members?

- [Renting|Use of] the {thing} costs {amount} [a day|an hour][, with a deposit of {amount_b}|].
amount? How much [is it|does it cost] to [use|rent] the {thing}?
amount_b? How much is the deposit for the {thing}?

- {^topic} data [are|is] [kept for|deleted after] {term}[ and shared with {company}|].
term? [How long|For how long] are {topic} data kept?
company? With whom are {topic} data shared?

- [Cancellation|You may cancel] up to {term} before the {event} [is free|]. [Later, {percent} of the price is due.|]
term? [Until when|How long before] [can I cancel|may one cancel] the {event}?
percent? What [is due|do I pay] for late cancellation of the {event}?

- [At most|No more than] {count} people may be in the {room}[, because {reason}|].
count? How many people may be in the {room}?
reason? Why is the number of people in the {room} limited?

- [Children under {minor}|Persons under {minor}] may use the {room} only with an adult.
minor? [Up to what age|Under what age] is an adult needed in the {room}?

- Whoever loses the {thing} pays {amount}.
amount? What does [it cost to lose the {thing}|losing the {thing} cost]?

- [Complaints|Objections] about {topic} go to {person}, {email}, within {term}.
person? Who deals with complaints about {topic}?
email? Where do complaints about {topic} go?
term? Within what time can one complain about {topic}?

* [Please be considerate.|Smoking is not permitted.|Dogs must be kept on a lead.]
"""

KINDS = (
    read_kind("contract", _CONTRACT),
    read_kind("licence", _LICENCE),
    read_kind("terms", _TERMS),
)
