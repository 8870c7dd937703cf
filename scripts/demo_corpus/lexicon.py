"""The words of the word games: opposites, rhymes, plurals, categories, colors, sounds."""

from __future__ import annotations


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group.split("/")) for group in text.split())


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in text.split())


OPPOSITES = _groups(
    """
    hot/cold big/small up/down left/right good/bad fast/slow happy/sad old/young light/dark
    day/night open/closed full/empty hard/soft high/low long/short rich/poor strong/weak wet/dry
    early/late loud/quiet clean/dirty thick/thin wide/narrow heavy/light near/far first/last in/out
    black/white true/false yes/no love/hate push/pull win/lose buy/sell give/take start/stop
    begin/end inside/outside above/below before/after always/never all/none more/less many/few
    over/under sweet/sour smooth/rough sharp/blunt deep/shallow cheap/expensive easy/difficult
    safe/dangerous brave/afraid polite/rude alive/dead awake/asleep friend/enemy question/answer
    north/south east/west summer/winter morning/evening boy/girl man/woman king/queen brother/sister
    mother/father laugh/cry come/go come/go remember/forget right/wrong front/back top/bottom
    beautiful/ugly new/old tall/short warm/cool public/private simple/complex bright/dim
    guilty/innocent war/peace success/failure arrive/leave add/subtract increase/decrease
    positive/negative maximum/minimum together/apart forward/backward visible/hidden lucky/unlucky
    fair/unfair clever/stupid
    """
)

RHYMES = _groups(
    """
    cat/hat/bat/mat/rat dog/fog/log/frog house/mouse/blouse tree/bee/see/free/key sun/fun/run/bun
    star/car/far/jar moon/soon/spoon/noon light/night/bright/right/kite day/play/say/way/gray
    rain/train/brain/chain cake/lake/snake/make book/look/cook/hook ring/sing/king/wing
    ball/tall/wall/fall bed/red/head/bread fish/dish/wish snow/go/slow/toe blue/shoe/two/true/zoo
    bear/chair/hair/pear boat/coat/goat/note top/hop/shop/drop pen/ten/hen/men hill/mill/bill/still
    sand/hand/land/band nose/rose/toes/close mice/ice/nice/rice rock/sock/clock/block
    ship/trip/lip/chip bug/rug/hug/mug fox/box/socks wing/thing/string/bring heart/art/part/start
    sky/fly/high/pie town/brown/crown/down time/lime/rhyme/climb gold/cold/old/hold
    green/bean/queen/seen best/nest/rest/test bit/sit/fit/hit dream/cream/team heat/feet/meat/seat
    """
)

IRREGULAR_PLURALS = _pairs(
    """
    mouse/mice man/men woman/women child/children foot/feet tooth/teeth goose/geese sheep/sheep
    fish/fish deer/deer ox/oxen person/people leaf/leaves wolf/wolves knife/knives life/lives
    wife/wives half/halves shelf/shelves loaf/loaves thief/thieves calf/calves elf/elves
    cactus/cacti moose/moose
    """
)
REGULAR_PLURALS = _pairs(
    """
    box/boxes fox/foxes bus/buses glass/glasses dish/dishes church/churches watch/watches
    peach/peaches class/classes city/cities baby/babies story/stories lady/ladies berry/berries
    fly/flies pony/ponies party/parties puppy/puppies potato/potatoes tomato/tomatoes hero/heroes
    brush/brushes witch/witches key/keys toy/toys boy/boys day/days piano/pianos
    """
)

CATEGORIES = {
    "animal": """
        dog cat horse cow lion tiger bear mouse fox wolf rabbit sheep goat duck frog snake elephant
        monkey whale owl pig hen bird deer fish
    """.split(),
    "fruit": """
        apple banana cherry pear plum orange lemon grape peach mango kiwi melon strawberry
    """.split(),
    "color": "red blue green yellow black white brown pink purple orange gray".split(),
    "vegetable": "carrot potato tomato onion pea bean cabbage spinach pepper pumpkin".split(),
    "vehicle": "car bus train bicycle truck ship boat plane tram motorcycle".split(),
    "tool": "hammer saw drill wrench screwdriver axe shovel".split(),
    "drink": "water milk tea coffee juice lemonade".split(),
    "instrument": "piano violin guitar drum flute trumpet harp".split(),
    "flower": "rose tulip daisy lily sunflower violet".split(),
    "tree": "oak pine birch maple willow fir".split(),
    "season": "spring summer autumn winter".split(),
    "planet": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "shape": "circle square triangle rectangle star".split(),
    "sport": "football tennis swimming running cycling".split(),
    "piece of furniture": "table chair bed sofa shelf desk lamp".split(),
}  # fmt: skip

COLORS_OF = _pairs(
    """
    banana/yellow sky/blue grass/green snow/white coal/black blood/red tomato/red lemon/yellow
    sun/yellow leaf/green carrot/orange pumpkin/orange strawberry/red cherry/red milk/white
    chocolate/brown elephant/gray frog/green pig/pink crow/black sea/blue night/black cloud/white
    bear/brown cucumber/green ocean/blue sheep/white fire/red gold/yellow mouse/gray swan/white
    """
)
MIXES = {
    ("red", "blue"): "purple",
    ("blue", "yellow"): "green",
    ("red", "yellow"): "orange",
    ("red", "white"): "pink",
    ("black", "white"): "gray",
}

SOUNDS = _pairs(
    """
    dog/woof cat/meow cow/moo sheep/baa duck/quack pig/oink horse/neigh lion/roar owl/hoot
    snake/hiss bee/buzz mouse/squeak frog/croak rooster/cock-a-doodle-doo hen/cluck bird/tweet
    wolf/howl donkey/hee-haw crow/caw goat/maa bear/growl turkey/gobble monkey/ooh-ooh
    """
)
YOUNG = _pairs(
    """
    dog/puppy cat/kitten cow/calf sheep/lamb horse/foal pig/piglet hen/chick duck/duckling goat/kid
    bear/cub lion/cub goose/gosling frog/tadpole kangaroo/joey
    """
)
LEGS = {
    "dog": 4,
    "cat": 4,
    "cow": 4,
    "horse": 4,
    "bird": 2,
    "duck": 2,
    "hen": 2,
    "spider": 8,
    "ant": 6,
    "bee": 6,
    "fly": 6,
    "snake": 0,
    "fish": 0,
    "frog": 4,
    "mouse": 4,
    "person": 2,
    "elephant": 4,
    "table": 4,
    "chair": 4,
    "crab": 10,
}

SYNONYMS = _pairs(
    """
    big/large small/little fast/quick happy/glad sad/unhappy smart/clever begin/start end/finish
    angry/cross pretty/beautiful easy/simple hard/difficult rich/wealthy quiet/silent scared/afraid
    funny/amusing tired/sleepy nice/kind strange/odd shout/yell talk/speak look/see gift/present
    sick/ill close/near choose/pick correct/right large/big quick/fast clever/smart glad/happy
    little/small speak/talk kind/nice afraid/scared
    """
)

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"

MORE_WORDS = """
    hello world computer model language token weight memory name school friend family garden window
    kitchen bottle paper letter number music river mountain island forest bridge castle dragon
    rocket robot pizza butter cheese sugar honey pencil ruler button pocket jacket shirt finger
    shoulder stomach doctor teacher farmer baker sailor pirate princess giant please thanks sorry
    welcome tinychat awq
""".split()

# Every word that a spelling question may ask for.
SPELLING = sorted(
    {
        word.lower()
        for words in (
            *OPPOSITES,
            *RHYMES,
            *CATEGORIES.values(),
            IRREGULAR_PLURALS,
            REGULAR_PLURALS,
            COLORS_OF,
            SOUNDS,
            SYNONYMS,
            DAYS,
            MONTHS,
            MORE_WORDS,
        )
        for word in words
        if " " not in word
    }
)

RIDDLES = (
    ("What has hands but cannot clap?", "clock"), ("What gets wetter the more it dries?", "towel"),
    ("What has teeth but cannot bite?", "comb"), ("What has a neck but no head?", "bottle"),
    ("What goes up but never comes down?", "age"), ("What has one eye but cannot see?", "needle"),
    ("What has keys but opens no door?", "piano"),
    ("What is full of holes but holds water?", "sponge"),
    ("What has legs but cannot walk?", "table"), ("What can you catch but not throw?", "cold"),
    ("What falls in winter but never gets hurt?", "snow"),
    ("What has words but never speaks?", "book"),
    ("I am yellow and monkeys love me. What am I?", "banana"),
    ("I shine at night and I am round. What am I?", "moon"),
    ("I have four legs and I say woof. What am I?", "dog"),
    ("I am red and round and grow on a tree. What am I?", "apple"),
    ("I fall from the clouds and make you wet. What am I?", "rain"),
    ("I have a shell and walk slowly. What am I?", "turtle"),
)  # fmt: skip

JOKES = (
    "Why did the token cross the road? To get to the next position.",
    "What do you call a bear with no teeth? A gummy bear.",
    "Why was the math book sad? It had too many problems.",
    "What do you call a sleeping bull? A bulldozer.",
    "Why do bees have sticky hair? They use honeycombs.",
    "What is a cat's favorite color? Purr-ple.",
    "Why was six afraid of seven? Because seven ate nine.",
    "Where do cows go for fun? To the moo-vies.",
    "Why did the model go on a diet? It had too many weights.",
    "What do you get from a cow on a trampoline? A milk shake.",
)  # fmt: skip
