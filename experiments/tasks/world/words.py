"""The words of the micro-world, by what they are. Meaning lives in the grouping: a line of VERBS is one deed with two
names, a line of QUALITIES a quality (two names) and its opposite (two names).

Every noun is countable here. Verbs have one form for the past tense and the participle, so that passives need no other.
"""

TAXONOMY: dict[str, dict[str, str]] = {  # kind of kinds -> kind -> entities
    "creature": {
        "bird": "robin sparrow crow hawk owl swan duck finch",
        "fish": "trout salmon cod carp eel perch tuna pike",
        "insect": "bee wasp ant moth beetle cricket hornet gnat",
        "mammal": "fox wolf bear deer otter badger rabbit beaver",
    },
    "plant": {
        "tree": "oak elm birch maple willow cedar larch aspen",
        "flower": "rose lily tulip daisy poppy orchid iris lotus",
        "herb": "mint sage thyme basil parsley dill fennel clove",
    },
    "vehicle": {
        "boat": "canoe ferry yacht raft kayak barge dinghy tanker",
        "car": "sedan taxi limousine jeep van coupe minivan convertible",
        "plane": "jet glider bomber airliner seaplane biplane airship drone",
    },
    "garment": {
        "hat": "cap beret bonnet helmet hood turban fedora beanie",
        "shoe": "boot sandal slipper sneaker clog loafer moccasin brogue",
        "coat": "jacket parka cloak blazer anorak raincoat poncho tunic",
    },
    "instrument": {
        "horn": "trumpet tuba bugle trombone cornet saxophone bassoon oboe",
        "drum": "bongo tabla snare timpani tambourine conga gong cymbal",
        "lute": "guitar banjo sitar mandolin violin cello viola zither",
    },
    "dish": {
        "soup": "broth chowder stew gumbo bisque goulash borscht minestrone",
        "cake": "muffin brownie sponge tart scone cupcake eclair doughnut",
        "cheese": "brie cheddar gouda feta edam parmesan gruyere camembert",
        "fruit": "apple pear plum cherry peach mango lemon melon",
    },
}
IRREGULAR_PLURALS = {"wolf": "wolves", "deer": "deers", "mango": "mangoes"}

ABILITIES = """bird fly, fish swim, insect buzz, mammal roam, tree sway, flower bloom, herb sprout, boat float,
    car brake, plane soar, hat tilt, shoe squeak, coat flap, horn blare, drum thump, lute twang, soup simmer,
    cake crumble, cheese melt, fruit ripen"""

NAMES = {
    "she": "mary anna clara emma julia laura nora olga rosa sarah tina vera alice diana helen irene",
    "he": "john adam boris carl david erik frank george henry ivan jacob karl leo martin oscar peter",
}
COUNTRIES = {
    "norway": "oslo bergen", "italy": "rome milan", "spain": "madrid seville", "germany": "berlin hamburg",
    "france": "paris lyon", "egypt": "cairo luxor", "peru": "lima cusco", "ireland": "dublin cork",
}
JOBS = "baker doctor farmer teacher lawyer painter singer sailor plumber tailor writer dentist judge pilot nurse barber"
COLOURS = "red blue green yellow black white brown grey purple pink orange golden"
MATERIALS = "wood iron glass paper leather plastic stone silver copper rubber cotton wool"
PLACES = """forest woodland, river stream, garden yard, road street, hill mound, shop store, harbour port, house home,
    meadow pasture, swamp marsh, cave grotto, village hamlet"""
VERBS = """chase chases chased = pursue pursues pursued
    help helps helped = assist assists assisted
    watch watches watched = observe observes observed
    find finds found = discover discovers discovered
    buy buys bought = purchase purchases purchased
    carry carries carried = transport transports transported
    fix fixes fixed = repair repairs repaired
    grab grabs grabbed = seize seizes seized
    save saves saved = rescue rescues rescued
    annoy annoys annoyed = irritate irritates irritated
    scare scares scared = frighten frightens frightened
    pick picks picked = select selects selected
    destroy destroys destroyed = ruin ruins ruined
    collect collects collected = gather gathers gathered
    toss tosses tossed = fling flings flung
    lift lifts lifted = raise raises raised
    push pushes pushed = shove shoves shoved
    pull pulls pulled = drag drags dragged
    praise praises praised = applaud applauds applauded
    blame blames blamed = accuse accuses accused
    trick tricks tricked = deceive deceives deceived
    wash washes washed = rinse rinses rinsed
    trail trails trailed = track tracks tracked
    guard guards guarded = protect protects protected"""
DEEDS = """sing sings sang = chant chants chanted
    sleep sleeps slept = doze dozes dozed
    run runs ran = sprint sprints sprinted
    jump jumps jumped = leap leaps leapt
    shout shouts shouted = yell yells yelled
    cry cries cried = weep weeps wept
    smile smiles smiled = grin grins grinned
    walk walks walked = stroll strolls strolled
    talk talks talked = chat chats chatted
    vanish vanishes vanished = disappear disappears disappeared
    fall falls fell = tumble tumbles tumbled
    shine shines shone = gleam gleams gleamed"""
QUALITIES = """big large / small little, fast quick / slow sluggish, clean spotless / dirty filthy,
    strong sturdy / weak feeble, loud noisy / quiet silent, wet damp / dry arid, rich wealthy / poor needy,
    heavy weighty / light weightless, bright shiny / dull dim, warm hot / cold chilly, young youthful / old aged,
    brave bold / timid fearful"""

ASPECTS = """meal film hotel concert song story waiter show room book trip party lesson market museum service"""
PRAISE = """good great wonderful delightful excellent superb lovely charming perfect brilliant splendid pleasant amazing
    fantastic marvellous enjoyable impressive gorgeous terrific fabulous magnificent outstanding pleasing fine"""
BLAME = """bad rotten terrible horrible awful dreadful nasty boring ugly disgusting mediocre annoying lousy miserable
    hideous unpleasant pathetic tedious appalling dismal gruesome worthless disappointing horrid"""
DEGREES = "very really quite so truly rather"

RESTAURANTS = """alimentum aromi bibimbap browns clowns cocum cotto fitzbillies giraffe lochside strada travellers
    wildwood zizzi vaults wrestlers"""
VENUES = "restaurant pub cafe bistro"
CUISINES = "french italian chinese indian japanese english thai mexican"
AREAS = "riverside centre suburbs outskirts"
PRICES = "cheap moderate expensive"
RATINGS = "low average high top"
