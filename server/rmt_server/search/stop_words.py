"""Words that say nothing of where a text answers a query: question words, articles, auxiliaries and the like."""

import unicodedata
from collections.abc import Mapping

__all__ = ["STOP_WORDS"]

_ENGLISH = """
a about after all also am an and any are aren as at be because been before being both but by can cannot could couldn d
did didn do does doesn doing don during each either else ever find for from get gets give given got had hadn has hasn
have haven having he her hers him his how i if in into is isn it its ll m many may me might mine more most much must
my name no nor not of off on once one or other our ours out own please re s said say says shall she should shouldn so
some such t tell than that the their theirs them then there these they this those through to too under until up us ve
very was wasn we were weren what whatever when whenever where wherever which whichever while who whoever whom whose
why will with won would wouldn you your yours
"""
_GERMAN = """
aber alle allem allen aller alles als also am an auch auf aus bei beim bin bis bist da damit dann das dass dein deine
dem den denn der des dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer
eines er es euch fur gab gibt habe haben hat hatte hatten hier ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins
ist ja jede jedem jeden jeder jedes kann kein keine keinen konnen man mein meine mit nach nicht noch nun nur ob oder
ohne sagt sehr sein seine seinem seinen seiner seit sich sie sind so um und uns unter vom von vor wann war waren warum
was welche welchem welchen welcher welches wem wen wenn wer werden wessen wie wieso wieviel wird wo wodurch woher
wohin womit woran wovon wurde wurden zu zum zur
"""
_FRENCH = """
a ai au aux avec avait c ce ces cet cette ceux combien comment d dans de des donc du elle elles en est estce et etait
ete etre eu fut il ils j je l la laquelle le lequel les lesquels leur leurs lui m ma mais me mes moi mon n ne nos
notre nous on ont ou par pas pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa se ses si son sont sur
t ta te tes toi ton tu un une vos votre vous y
"""
_SPANISH = """
a al como con cual cuales cuando cuanta cuantas cuanto cuantos de del desde donde el ella ellas ellos en entre era
eran es esa ese eso esta estaba estan este esto fue fueron ha habia han hasta hay la las le les lo los mas me mi muy
no nos o para pero por porque que quien quienes se ser si sin sobre son su sus te tu un una uno unos y ya yo
"""
_ITALIAN = """
a ad ai al alla alle allo anche c che chi ci come con cosa cui da dal dalla dei del della delle dello di dov dove e ed
era erano fu furono gli ha hanno i il in io l la le lei lo loro lui ma mi mia mio ne nei nel nella no noi non o per
perche piu qual quale quali quando quanta quante quanti quanto quel quella questa questo se si sono su sua sue sui sul
sulla suo tra un una uno
"""
_PORTUGUESE = """
a ao aos as com como da das de do dos e ela ele eles em entre era eram essa esse esta estava este eu foi foram ha isso
isto ja lhe mais mas me meu minha na nas nao no nos o onde os ou para pela pelo por porque qual quais quando quanta
quantas quanto quantos que quem se sem ser seu seus so sua suas tem um uma voce
"""
_DUTCH = """
aan al als bij dan dat de der deze die dit doen door een en er had heb hebben heeft hem het hier hij hoe hoeveel hun
ik in is je kan maar me met mijn na naar niet nog nu of om omdat ons ook op over te tot uit van voor waar waarom
wanneer was wat we welk welke werd wie wij worden zij zijn zo zou
"""
_RUSSIAN = """
а без бы был была были было быть в вам вас во вот все всех вы где да для до его ее ей ему если есть еще же за зачем и
из или им их к как какая какие какой кем когда кого кому который кто куда ли мне мы на над не него нее нет ни них но о
об он она они оно от откуда по почему при с сколько со так также там то того только ты у уже что чтобы чего чем чей
это этого этой этот я
"""
_CHINESE = """
什么 什 么 哪里 哪儿 哪个 哪 谁 怎么 怎样 怎 为什 多少 几 吗 呢 的 了 是 在 是谁 谁的 在哪 是什 么时 里吗
"""
_JAPANESE = """
何 誰 どこ どれ どの なに なぜ いつ です すか ます でし した か は が を に の で と も だれ どう こに 何で
"""
_HINDI = """
क्या कौन कब कहाँ कहां क्यों कैसे कितना कितने कितनी किस किसने किसका किसकी किसके है हैं था थी थे का की के को में से पर
ने और यह वह
"""


def _folded(words: str) -> frozenset[str]:
    """The words as the index knows them, without accents."""
    apart = unicodedata.normalize("NFKD", words.casefold())
    plain = "".join(char for char in apart if not "\u0300" <= char <= "\u036f")
    return frozenset(unicodedata.normalize("NFC", plain).split())


STOP_WORDS: Mapping[str, frozenset[str]] = {
    "en": _folded(_ENGLISH),
    "de": _folded(_GERMAN),
    "fr": _folded(_FRENCH),
    "es": _folded(_SPANISH),
    "it": _folded(_ITALIAN),
    "pt": _folded(_PORTUGUESE),
    "nl": _folded(_DUTCH),
    "ru": _folded(_RUSSIAN),
    "zh": _folded(_CHINESE),
    "ja": _folded(_JAPANESE),
    "hi": _folded(_HINDI),
}
"""By language; the first of those that fit a query equally well is taken."""
