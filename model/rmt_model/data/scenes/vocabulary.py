"""Words for one document: names, numbers, dates and phrases, in the styles that the document keeps to."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from rmt_model.data.scenes.grammar import Slot, join_words, parse, spell
from rmt_model.data.scenes.pools import NAMES, PHRASES
from rmt_model.data.story import Split
from rmt_model.data.words import Lexicon

__all__ = ["Value", "Vocabulary"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONSETS = _words("b br c ch d dr f fl g gr h j k kl l m n p pr r s sh st t th tr v w z")
_VOWELS = _words("a e i o u ai ei ia ou")
_CODAS = ["", "l", "m", "n", "r", "s", "nd", "rk", "x", "ss", "ck"]
_TOWN_ENDS = ("ford", "ham", "burg", "ville", "stad", "mouth", "wick", "by", "ton", "dorf", "field", "bridge")
_FIRMS = (
    "Ltd",
    "GmbH",
    "Inc.",
    "& Sons",
    "Logistics",
    "Systems",
    "Foods",
    "Partners",
    "Bank",
    "Energy",
    "Press",
    "Labs",
)
_MONTHS = _words("January February March April May June July August September October November December")
_DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_DATE_FORMS = (
    "{d} {B} {y}",
    "{B} {d}, {y}",
    "{y}-{m:02}-{d:02}",
    "{d:02}.{m:02}.{y}",
    "{d} {b} {y}",
    "{d} {B}",
    "{B} {d}",
)
_SUFFIXES = _words("py c rs go ts java yaml json csv txt md log sql html")
_DOMAINS = ("com", "org", "net", "example", "io")
_ROADS = ("Street", "Road", "Lane", "Avenue", "Close")
_NUMBERS = _words("two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty sixty")
_REPEATABLE = """weekday month count percent number digit time seconds minutes duration term height distance
    minor amount year weather country state law period port level status version colour_word
    language relation virtue subject illness price few outdoor oven material temperature weight
    size member speaker stamp rating age score job job_word adjective_word key_combo"""


@dataclass(frozen=True, slots=True)
class Value:
    """What a slot holds.

    Attributes:
        text: Its words.
        other: Other words that mean the same, for questions.
    """

    text: str
    other: str


class Vocabulary:
    """Draws words for one document; dates, times and bullets keep one style, and a few people come again."""

    repeatable = frozenset(_REPEATABLE.split())
    """Slots of which a document may hold the same value twice."""

    def __init__(self, rng: Random, split: Split, lexicon: Lexicon) -> None:
        self._rng = rng
        self._split: Split = split
        self._lexicon = lexicon
        self._she: dict[str, bool] = {}
        self._forenames: set[str] = set()
        self._name_style = rng.choice(("full", "full", "first", "first", "formal"))
        self._date_form = rng.choice(_DATE_FORMS)
        self._twelve_hours = rng.random() < 0.35
        self._currency = rng.choice(("€{}", "${}", "£{}", "{} EUR", "{} euros", "CHF {}", "{} dollars", "${}", "{} kr"))
        self._clock = dt.datetime(2026, 1, 1) + dt.timedelta(minutes=rng.randrange(525_600))
        self._stamp_form = rng.choice(
            ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%b %d %H:%M:%S", "%H:%M:%S", "%H:%M")
        )
        self._speech_times = rng.choice(("", "", "[%H:%M:%S] ", "(%H:%M) ", "%H:%M "))
        self.bullet = rng.choice(("- ", "* ", "• ", "- "))
        self._cast = [self.person() for _ in range(rng.randint(3, 6))]
        self._handles = [self.handle() for _ in range(rng.randint(3, 5))]

    def draw(self, base: str) -> Value:
        """A value for a slot."""
        if base in PHRASES:
            return self._phrase(base)
        text = self._name(base) if base in NAMES else _maker(base)(self)
        return Value(text, text)

    def _phrase(self, base: str) -> Value:
        text, _, other = self._rng.choice(PHRASES[base]).partition(" = ")
        inner: dict[str, Value] = {}
        spelled = self._spell(text, inner)
        return Value(spelled, self._spell(other, inner) if other else spelled)

    def _spell(self, template: str, inner: dict[str, Value]) -> str:
        words: list[str] = []
        for piece in spell(parse(template), self._rng):
            if isinstance(piece, Slot):
                if piece.name not in inner:
                    inner[piece.name] = self.draw(piece.base)
                words.append(inner[piece.name].text)
            else:
                words.append(piece)
        return join_words(words)

    def _name(self, base: str) -> str:
        """A word of a pool; nouns are often made longer or taken from the lexicon, which leaves the vocabulary open."""
        word = NAMES[base].draw(self._rng, self._split)
        chance = self._rng.random()
        if base in ("surname", "town", "brand") and chance < 0.3:
            ending = self._rng.choice(_TOWN_ENDS) if base == "town" else ""
            return self.coined(ending)
        if base in ("thing", "component", "room", "event") and chance < 0.3:
            adjective = self._lexicon.draw(self._rng, self._split) or NAMES["adjective_word"].draw(
                self._rng, self._split
            )
            return f"{adjective} {word}"
        if base in ("thing", "code_noun", "topic") and chance < 0.4:
            return self._lexicon.draw(self._rng, self._split) or word
        return word

    def coined(self, ending: str = "") -> str:
        """A name out of syllables; the splits never share one: the sum of its letters tells them apart."""
        choose = self._rng.choice
        while True:
            syllables = (choose(_ONSETS) + choose(_VOWELS) for _ in range(self._rng.randint(1 if ending else 2, 3)))
            name = ("".join(syllables) + (ending or choose(_CODAS))).capitalize()
            if (sum(map(ord, name)) % 5 == 0) == (self._split == "validation"):
                return name

    def pronoun(self, base: str, person: str) -> str:
        """The pronoun for somebody who was drawn before."""
        return {"he": "she", "his": "her", "him": "her"}[base] if self._she.get(person) else base

    def person(self) -> str:
        """Somebody new: full name, forename, or with a title, as the document has it."""
        she = self._rng.random() < 0.5
        forename = self._name("woman" if she else "man")
        for _ in range(9):
            if forename not in self._forenames:
                break
            forename = self._name("woman" if she else "man")
        self._forenames.add(forename)
        surname = self._name("surname")
        name = {"full": f"{forename} {surname}", "first": forename, "formal": f"{'Ms' if she else 'Mr'} {surname}"}
        style = self._name_style if self._rng.random() < 0.9 else "full"
        name["formal"] = f"Dr {surname}" if self._rng.random() < 0.2 else name["formal"]
        self._she[name[style]] = she
        return name[style]

    def member(self) -> str:
        """One of the few people that the document is about."""
        return self._rng.choice(self._cast)

    def full_name(self) -> str:
        """A forename and a surname."""
        return f"{self._name(self._rng.choice(('woman', 'man')))} {self._name('surname')}"

    def handle(self) -> str:
        """A user's short name."""
        name = self._name(self._rng.choice(("woman", "man", "brand", "surname"))).lower().replace("'", "")
        return name + self._rng.choice(("", "", "", "_", "x", "42", "_dev", "77", ".k", "99", "-b"))

    def speaker(self) -> str:
        """One of the few users in a chat."""
        return self._rng.choice(self._handles)

    def at(self) -> str:
        """The time before a speech, or nothing, as the document has it."""
        self._tick()
        return self._clock.strftime(self._speech_times)

    def stamp(self) -> str:
        """The time of a log's line; it never goes back."""
        self._tick()
        return self._clock.strftime(self._stamp_form)

    def _tick(self) -> None:
        most = 400 if self._stamp_form.endswith("%H:%M") else 90
        self._clock += dt.timedelta(seconds=self._rng.randint(61 if most == 400 else 1, most))

    def date(self) -> str:
        """A date, mostly in the document's form."""
        form = self._date_form if self._rng.random() < 0.85 else self._rng.choice(_DATE_FORMS)
        month = self._rng.randint(1, 12)
        name = _MONTHS[month - 1]
        return form.format(d=self._rng.randint(1, 28), m=month, B=name, b=name[:3], y=self._rng.randint(2019, 2031))

    def weekday(self) -> str:
        """A day of the week."""
        return self._rng.choice(_DAYS)

    def month(self) -> str:
        """A month."""
        return self._rng.choice(_MONTHS)

    def year(self) -> str:
        """A year."""
        return str(self._rng.randint(1890, 2026))

    def time(self) -> str:
        """A time of day."""
        hour, minute = self._rng.randint(6, 21), self._rng.choice((0, 0, 5, 10, 15, 20, 30, 40, 45, 50))
        if self._twelve_hours:
            return f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {'a.m.' if hour < 12 else 'p.m.'}"
        return f"{hour:02}:{minute:02}"

    def number(self) -> str:
        """A number of any size."""
        return f"{self._rng.randint(2, 10 ** self._rng.randint(2, 6)):,}"

    def count(self) -> str:
        """How many: a figure, or a word where it is small."""
        return (
            self._rng.choice(_NUMBERS)
            if self._rng.random() < 0.4
            else str(self._rng.randint(2, 60 if self._rng.random() < 0.8 else 400))
        )

    def digit(self) -> str:
        """One or two figures."""
        return str(self._rng.randint(1, 60))

    def percent(self) -> str:
        """A percentage."""
        value = self._rng.choice((str(self._rng.randint(1, 99)), f"{self._rng.uniform(0.1, 99):.1f}"))
        return value + self._rng.choice(("%", "%", " %", " per cent"))

    def amount(self) -> str:
        """An amount of money."""
        value = self._rng.choice(
            (self._rng.randint(3, 95), self._rng.randint(1, 99) * 50, self._rng.randint(900, 90_000))
        )
        cents = f".{self._rng.randint(1, 99):02}" if self._rng.random() < 0.2 else ""
        return self._currency.format(f"{value:,}{cents}")

    def price(self) -> str:
        """A small amount of money."""
        cents = f".{self._rng.choice((5, 20, 49, 50, 90, 95, 99)):02}" if self._rng.random() < 0.4 else ""
        return self._currency.format(f"{self._rng.randint(2, 180)}{cents}")

    def few(self) -> str:
        """A small number in words."""
        return self._rng.choice(_NUMBERS[:8])

    def father(self) -> str:
        """A man's full name."""
        return f"{self._name('man')} {self._name('surname')}"

    def mother(self) -> str:
        """A woman's full name."""
        return f"{self._name('woman')} {self._name('surname')}"

    def oven(self) -> str:
        """A temperature of an oven."""
        return f"{self._rng.randint(28, 48) * 5} {self._rng.choice(('°C', 'degrees', '°F'))}"

    def outdoor(self) -> str:
        """A temperature outdoors."""
        return f"{self._rng.randint(-12, 36)} {self._rng.choice(('°C', 'degrees'))}"

    def duration(self) -> str:
        """How long something takes."""
        unit = self._rng.choice(("minutes", "minutes", "hours", "days", "weeks", "months", "years"))
        return f"{self._rng.choice(_NUMBERS[:12]) if self._rng.random() < 0.4 else self._rng.randint(2, 90)} {unit}"

    def term(self) -> str:
        """How long something is valid: days and more."""
        unit = self._rng.choice(("days", "days", "weeks", "months", "years"))
        most = {"days": 90, "weeks": 20, "months": 36, "years": 12}[unit]
        return f"{self._rng.choice(_NUMBERS[:11]) if self._rng.random() < 0.4 else self._rng.randint(2, most)} {unit}"

    def seconds(self) -> str:
        """Some seconds."""
        return f"{self._rng.randint(2, 90)} {self._rng.choice(('seconds', 'seconds', 's'))}"

    def minutes(self) -> str:
        """Some minutes."""
        return f"{self._rng.randint(2, 95)} {self._rng.choice(('minutes', 'minutes', 'min'))}"

    def age(self) -> str:
        """Somebody's age in figures."""
        return str(self._rng.randint(4, 98))

    def phone(self) -> str:
        """A telephone number."""
        form = self._rng.choice(
            ("+## ### ### ####", "0## #### ####", "(###) ###-####", "###-####", "+## ## ######", "ext. ####")
        )
        return self._figures(form)

    def _figures(self, form: str) -> str:
        return "".join(self._rng.choice("123456789") if sign == "#" else sign for sign in form)

    def ticket(self) -> str:
        """An identifier of an order, a ticket or a file."""
        form = self._rng.choice(("XX-####", "X-#####", "XXX-###", "##-####", "XX####X", "#######", "XX/####/##"))
        return "".join(
            self._rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") if sign == "X" else sign for sign in self._figures(form)
        )

    def hexid(self) -> str:
        """A short hash."""
        return f"{self._rng.getrandbits(28) | 1 << 27:07x}"

    def ip(self) -> str:
        """An IP address."""
        return ".".join(str(self._rng.randint(1, 254)) for _ in range(4))

    def port(self) -> str:
        """A port."""
        return str(self._rng.choice((80, 443, 5432, 6379, 8080, 9090, self._rng.randint(1024, 49_000))))

    def host(self) -> str:
        """A host name."""
        end = self._rng.choice(("", "", ".internal", ".example.com", ".lan", f".{self.brand_word()}.net"))
        return f"{self.word()}-{self._rng.choice(('', 'eu-', 'us-', 'db-', 'prod-'))}{self._rng.randint(1, 40):02}{end}"

    def word(self) -> str:
        """A noun of software."""
        return self._name("code_noun")

    def brand_word(self) -> str:
        """A brand in lower case."""
        return self._name("brand").lower()

    def service(self) -> str:
        """The name of a service."""
        return (
            f"{self.word()}-{self._rng.choice(('service', 'api', 'worker', 'gateway', 'proxy', 'sync', 'agent', 'd'))}"
        )

    def file(self) -> str:
        """A file's name."""
        return f"{self.word()}_{self.word()}.{self._rng.choice(_SUFFIXES)}"

    def path(self) -> str:
        """A file's path."""
        root = self._rng.choice(("/etc", "/var/lib", "/var/log", "/home", "/opt", "/srv", "/usr/share", "src", "~"))
        return f"{root}/{self.brand_word() if self._rng.random() < 0.5 else self.word()}/{self.file()}"

    def option(self) -> str:
        """A long option of a command."""
        verb = self._rng.choice(("", "no-", "max-", "with-", "skip-", "keep-", "force-", "use-"))
        return f"--{verb}{self.word()}" + (f"-{self.word()}" if self._rng.random() < 0.4 else "")

    def short(self) -> str:
        """A short option."""
        return "-" + self._rng.choice("abcdefgijklmnopqrstuvwxyzABCDEFGHIKLMNPRSTUWXZ")

    def setting(self) -> str:
        """A configuration key."""
        joint = self._rng.choice("._-")
        return joint.join((self.word(), self._rng.choice(("max", "min", "default", "enable")), self.word()))

    def variable(self) -> str:
        """An environment variable."""
        return f"{self.word()}_{self.word()}".upper()

    def command(self) -> str:
        """A program's name."""
        return self._rng.choice(
            (self.brand_word(), self.word() + "ctl", self.word()[:4] + self._rng.choice(("x", "d", "z")))
        )

    def setting_value(self) -> str:
        """A value of a configuration key."""
        choices: tuple[Callable[[], str], ...] = (self.digit, self.seconds, self.path, self.size, self.host, self.word)
        return self._rng.choice(choices)()

    def version(self) -> str:
        """A version."""
        return f"{self._rng.randint(0, 14)}.{self._rng.randint(0, 30)}" + self._rng.choice(
            ("", f".{self._rng.randint(0, 19)}")
        )

    def size(self) -> str:
        """A size of memory or disk."""
        return f"{self._rng.randint(2, 900)} {self._rng.choice(('KB', 'MB', 'GB', 'MiB', 'GiB', 'TB'))}"

    def weight(self) -> str:
        """A weight."""
        return f"{self._rng.randint(2, 95)} {self._rng.choice(('kg', 'g', 'kilograms', 'lb'))}"

    def height(self) -> str:
        """A length that a person could measure."""
        short = f"{self._rng.randint(12, 190)} {self._rng.choice(('cm', 'centimetres', 'inches'))}"
        return self._rng.choice((short, f"{self._rng.randint(2, 19)} {self._rng.choice(('m', 'metres', 'feet'))}"))

    def distance(self) -> str:
        """How far somebody goes."""
        return f"{self._rng.randint(2, 42)} {self._rng.choice(('km', 'miles', 'kilometres'))}"

    def minor(self) -> str:
        """A young person's age in figures."""
        return str(self._rng.randint(4, 18))

    def temperature(self) -> str:
        """A temperature."""
        return f"{self._rng.randint(-20, 240)} {self._rng.choice(('°C', 'degrees', '°F'))}"

    def grams(self) -> str:
        """How much of an ingredient."""
        return f"{self._rng.randint(1, 80) * 5} {self._rng.choice(('g', 'g', 'ml', 'grams'))}"

    def email(self) -> str:
        """A mail address."""
        return f"{self.handle().replace('_', '')}@{self.brand_word()}.{self._rng.choice(_DOMAINS)}"

    def url(self) -> str:
        """A web address."""
        return (
            f"https://{self.brand_word()}.{self._rng.choice(('org', 'com', 'io', 'dev'))}/{self.word()}/{self.hexid()}"
        )

    def company(self) -> str:
        """A company."""
        core = self._rng.choice((self._name("brand"), self._name("surname"), self.coined()))
        return f"{core} {self._rng.choice(_FIRMS)}"

    def project(self) -> str:
        """A project's name."""
        return self._rng.choice(
            (self._name("brand"), self.coined(), f"{self._name('brand')} {self._rng.randint(2, 9)}")
        )

    def product(self) -> str:
        """A product with a model number."""
        core = self._rng.choice((self._name("brand"), self.coined()))
        return f"{core} {self._rng.choice(('', 'X', 'Pro ', 'S', 'T-', 'Mini '))}{self._rng.randint(2, 990)}"

    def address(self) -> str:
        """A street with a number."""
        return f"{self._rng.randint(1, 220)} {self._name('street')} {self._rng.choice(_ROADS)}"

    def job(self) -> str:
        """A profession."""
        return self._name("job_word")

    def status(self) -> str:
        """A status of HTTP."""
        return str(self._rng.choice((200, 201, 301, 304, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504)))

    def pid(self) -> str:
        """The number of a process."""
        return str(self._rng.randint(100, 32_000))

    def level(self) -> str:
        """A level of a log."""
        return self._rng.choice(("INFO", "INFO", "DEBUG", "WARN", "ERROR"))


@cache
def _maker(base: str) -> Callable[[Vocabulary], str]:
    """The method that makes values of a slot."""
    maker: Callable[[Vocabulary], str] | None = getattr(Vocabulary, base, None)
    if maker is None:
        raise ValueError(f"no pool, phrase or method for the slot {base!r}")
    return maker
