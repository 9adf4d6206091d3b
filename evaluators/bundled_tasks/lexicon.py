"""The words of the minimal pairs: common ones in English prose of 1840 to 1920.

Nouns are (singular, plural); verbs are named by the forms they hold.
"""

MEN = (
    ("king", "kings"),
    ("prince", "princes"),
    ("father", "fathers"),
    ("brother", "brothers"),
    ("uncle", "uncles"),
    ("boy", "boys"),
    ("lord", "lords"),
    ("gentleman", "gentlemen"),
    ("son", "sons"),
    ("soldier", "soldiers"),
    ("clergyman", "clergymen"),
    ("captain", "captains"),
)
WOMEN = (
    ("queen", "queens"),
    ("princess", "princesses"),
    ("mother", "mothers"),
    ("sister", "sisters"),
    ("aunt", "aunts"),
    ("girl", "girls"),
    ("lady", "ladies"),
    ("widow", "widows"),
    ("daughter", "daughters"),
    ("governess", "governesses"),
    ("duchess", "duchesses"),
    ("maid", "maids"),
)
CALLINGS = (
    ("doctor", "doctors"),
    ("servant", "servants"),
    ("lawyer", "lawyers"),
    ("sailor", "sailors"),
    ("farmer", "farmers"),
    ("stranger", "strangers"),
    ("visitor", "visitors"),
    ("traveller", "travellers"),
    ("teacher", "teachers"),
    ("prisoner", "prisoners"),
    ("officer", "officers"),
    ("friend", "friends"),
)
PEOPLE = MEN + WOMEN + CALLINGS
THINGS = (
    ("letter", "letters"),
    ("book", "books"),
    ("door", "doors"),
    ("window", "windows"),
    ("picture", "pictures"),
    ("flower", "flowers"),
    ("candle", "candles"),
    ("carriage", "carriages"),
    ("chair", "chairs"),
    ("ring", "rings"),
    ("ship", "ships"),
    ("tree", "trees"),
    ("stone", "stones"),
    ("box", "boxes"),
    ("paper", "papers"),
    ("basket", "baskets"),
    ("cottage", "cottages"),
    ("garden", "gardens"),
    ("horse", "horses"),
    ("bird", "birds"),
    ("lamp", "lamps"),
    ("parcel", "parcels"),
    ("hat", "hats"),
    ("key", "keys"),
)
IRREGULAR_NOUNS = (
    ("man", "men"),
    ("woman", "women"),
    ("child", "children"),
    ("gentleman", "gentlemen"),
    ("foot", "feet"),
    ("tooth", "teeth"),
    ("goose", "geese"),
    ("mouse", "mice"),
    ("wife", "wives"),
    ("knife", "knives"),
    ("wolf", "wolves"),
    ("thief", "thieves"),
    ("leaf", "leaves"),
    ("life", "lives"),
    ("loaf", "loaves"),
    ("ox", "oxen"),
)
MATTERS = ("money", "water", "trouble", "pleasure", "kindness", "time", "courage", "wine", "bread", "patience", "snow")

NAMES = (
    *("John", "Henry", "George", "Thomas", "Edward", "Arthur", "William", "Charles"),
    *("Mary", "Anne", "Margaret", "Jane", "Ellen", "Emily", "Alice", "Lucy"),
)
ADJECTIVES = ("old", "little", "poor", "young", "strange", "good", "great", "pretty", "dark", "quiet", "proud", "white")
STATES = ("gone", "tired", "silent", "afraid", "very old", "quite safe", "still there", "not far away", "well known")
PLACES = (
    *("in the garden", "by the fire", "at the door", "on the stairs", "in the parlour", "upon the hill"),
    *("near the river", "in the hall", "at the window", "under the trees", "in the village", "by the sea"),
)
TIMES = ("that evening", "in the morning", "at last", "after dinner", "for a long time", "the next day", "once more")

HANDLED = (
    *("opened", "carried", "found", "watched", "wanted", "noticed", "touched", "remembered", "bought", "admired"),
    *("examined", "lost"),
)

# (past, participle, what may follow)
IRREGULAR_VERBS = (
    ("took", "taken", "the letter"),
    ("wrote", "written", "a long letter"),
    ("broke", "broken", "the glass"),
    ("spoke", "spoken", "to the stranger"),
    ("gave", "given", "him the money"),
    ("chose", "chosen", "the best horse"),
    ("drank", "drunk", "all the wine"),
    ("began", "begun", "the work"),
    ("forgot", "forgotten", "the promise"),
    ("rose", "risen", "from the chair"),
    ("fell", "fallen", "into the water"),
    ("ate", "eaten", "the supper"),
    ("knew", "known", "the secret"),
    ("saw", "seen", "the lights"),
    ("drew", "drawn", "the curtain"),
    ("threw", "thrown", "the stone"),
    ("stole", "stolen", "the purse"),
    ("wore", "worn", "a black dress"),
    ("drove", "driven", "to the station"),
    ("flew", "flown", "over the wall"),
    ("shook", "shaken", "the old tree"),
    ("went", "gone", "to the church"),
    ("did", "done", "a great deal"),
    ("hid", "hidden", "the key"),
)
# Participles that can be passive, and those that cannot but take a preposition.
TRANSITIVE = (
    *("invited", "forgiven", "admired", "deceived", "saved", "taken", "carried", "persuaded", "accused", "praised"),
    *("comforted", "recognised", "brought", "rescued"),
)
INTRANSITIVE = (
    ("smiled", "at"),
    ("laughed", "at"),
    ("knelt", "beside"),
    ("waited", "with"),
    ("wept", "with"),
    ("walked", "beside"),
    ("danced", "with"),
    ("quarrelled", "with"),
    ("travelled", "with"),
    ("sat", "beside"),
    ("stood", "beside"),
    ("lived", "with"),
)
# Pairs of prepositions, each with the verbs (and an object) that take it and never the other one.
VERBS_WITH_PREPOSITION = (
    (
        (
            "to",
            (
                ("listened", "the music"),
                ("belonged", "the old lady"),
                ("returned", "the house"),
                ("replied", "the question"),
                ("objected", "the plan"),
                ("attended", "the matter"),
            ),
        ),
        (
            "of",
            (
                ("thought", "the poor children"),
                ("dreamed", "the sea"),
                ("died", "a fever"),
                ("grew tired", "the journey"),
                ("became aware", "the danger"),
                ("was ashamed", "the quarrel"),
            ),
        ),
    ),
    (
        (
            "for",
            (
                ("longed", "the spring"),
                ("asked", "the money"),
                ("searched", "the key"),
                ("cared", "the old man"),
                ("wished", "a better day"),
                ("prayed", "the sick child"),
            ),
        ),
        (
            "at",
            (
                ("laughed", "the story"),
                ("gazed", "the stars"),
                ("glanced", "the clock"),
                ("stared", "the wall"),
                ("knocked", "the door"),
                ("wondered", "the beauty of it"),
            ),
        ),
    ),
    (
        (
            "upon",
            (
                ("depended", "a small income"),
                ("insisted", "an answer"),
                ("relied", "an old friend"),
                ("reflected", "the matter"),
            ),
        ),
        (
            "in",
            (
                ("confided", "a friend"),
                ("persisted", "the attempt"),
                ("delighted", "the work"),
                ("succeeded", "the task"),
            ),
        ),
    ),
)
# What may stand before an embedded question.
KNEW = ("knew", "remembered", "forgot", "heard", "discovered", "told us", "understood", "saw", "learned", "guessed")
