"""Facts in tables, from which plain, stated and confused claims are composed.

Idea: a table holds what can be said in one form, so that the true claim and the false one differ in a single word. The price:
a table's claims sound alike; the hand-written ones (`truthy_claims`) do not.
"""

from __future__ import annotations

# Kinds of things: what is said of a kind is "<thing> is <kind>".
KINDS: dict[str, tuple[str, ...]] = {
    "an animal": ("A dog", "A horse", "A tiger", "A rabbit", "A wolf", "A monkey", "A sheep", "A goat"),
    "a fruit": ("A banana", "A pear", "A peach", "A lemon", "A plum", "A mango", "A cherry", "A grape"),
    "a vehicle": ("A car", "A lorry", "A bus", "A train", "A bicycle", "A ship", "A tractor", "A taxi"),
    "a tool": ("A hammer", "A saw", "A drill", "A shovel", "A wrench", "A rake", "A chisel", "A screwdriver"),
    "a colour": ("Red", "Blue", "Green", "Yellow", "Purple", "Brown", "Pink", "Black"),
    "a country": ("France", "China", "Brazil", "Egypt", "India", "Spain", "Kenya", "Japan"),
    "a number": ("Seven", "Twelve", "Nine", "Forty", "Six", "Twenty", "Three", "Eleven"),
    "a garment": ("A shirt", "A coat", "A skirt", "A jacket", "A sweater", "A dress", "A sock", "A glove"),
}

ANIMALS = (
    *("dog", "cat", "horse", "cow", "tiger", "lion", "sheep", "goat", "rabbit", "mouse", "wolf", "bear", "monkey", "elephant"),
    *("fox", "deer", "camel", "giraffe", "zebra", "donkey", "pig", "hare", "squirrel", "badger", "otter", "beaver", "leopard"),
    *(
        "kangaroo",
        "panda",
        "hamster",
        "duck",
        "swan",
        "parrot",
        "penguin",
        "frog",
        "lizard",
        "snake",
        "turtle",
        "salmon",
        "shark",
    ),
    *("crow", "hen", "eagle", "crab", "whale"),
)
THINGS = (
    *("chair", "table", "hammer", "spoon", "bottle", "shirt", "train", "bicycle", "pencil", "window", "shovel", "blanket"),
    *(
        "brick",
        "bus",
        "bridge",
        "shoe",
        "lamp",
        "ladder",
        "wheel",
        "clock",
        "wall",
        "spade",
        "coin",
        "candle",
        "carpet",
        "chimney",
    ),
    *("guitar", "hat", "key", "kettle", "knife", "mirror", "needle", "pillow", "pipe", "road", "rope", "sofa", "tent", "tower"),
    *("trumpet", "umbrella", "violin", "wallet", "bucket", "button", "castle", "compass", "curtain", "desk", "door", "drum"),
    *("engine", "fence", "flute", "fork", "helmet", "jacket", "rocket", "scarf"),
)
FOODS = (
    *(
        "bread",
        "cheese",
        "rice",
        "soup",
        "an apple",
        "a biscuit",
        "honey",
        "pasta",
        "a pancake",
        "butter",
        "a salad",
        "an omelette",
    ),
    *(
        "porridge",
        "a peach",
        "a sausage",
        "jam",
        "a pear",
        "a carrot",
        "yoghurt",
        "a banana",
        "a cherry",
        "a cake",
        "an orange",
    ),
    *(
        "a potato",
        "chocolate",
        "a sandwich",
        "a muffin",
        "a plum",
        "ham",
        "a pie",
        "cabbage",
        "a boiled egg",
        "lettuce",
        "a fig",
    ),
    *("a melon", "spinach", "a waffle", "bacon", "a doughnut", "a raspberry", "noodles", "an onion", "a grape", "a radish"),
)

COUNTRY_CAPITALS = (
    *(("France", "Paris"), ("England", "London"), ("Japan", "Tokyo"), ("Finland", "Helsinki"), ("Peru", "Lima")),
    *(("Hungary", "Budapest"), ("Ireland", "Dublin"), ("Cuba", "Havana"), ("Chile", "Santiago"), ("Iraq", "Baghdad")),
    *(
        ("Iran", "Tehran"),
        ("Thailand", "Bangkok"),
        ("South Korea", "Seoul"),
        ("Iceland", "Reykjavik"),
        ("Romania", "Bucharest"),
    ),
    *(("Bulgaria", "Sofia"), ("Serbia", "Belgrade"), ("Croatia", "Zagreb"), ("Ukraine", "Kyiv"), ("Lebanon", "Beirut")),
    *(("Jordan", "Amman"), ("Nepal", "Kathmandu"), ("Bangladesh", "Dhaka"), ("Ethiopia", "Addis Ababa"), ("Tunisia", "Tunis")),
    *(
        ("Algeria", "Algiers"),
        ("Uruguay", "Montevideo"),
        ("Paraguay", "Asuncion"),
        ("Venezuela", "Caracas"),
        ("Latvia", "Riga"),
    ),
    *(
        ("Lithuania", "Vilnius"),
        ("Estonia", "Tallinn"),
        ("Slovakia", "Bratislava"),
        ("Slovenia", "Ljubljana"),
        ("Qatar", "Doha"),
    ),
    *(("Mexico", "Mexico City"), ("Argentina", "Buenos Aires"), ("Mongolia", "Ulaanbaatar"), ("Angola", "Luanda")),
    *(
        ("Jamaica", "Kingston"),
        ("Cambodia", "Phnom Penh"),
        ("Laos", "Vientiane"),
        ("Armenia", "Yerevan"),
        ("Georgia", "Tbilisi"),
    ),
    *(("Kuwait", "Kuwait City"), ("Oman", "Muscat"), ("Zambia", "Lusaka"), ("Uganda", "Kampala"), ("Senegal", "Dakar")),
    *(("Mali", "Bamako"), ("Albania", "Tirana"), ("the Czech Republic", "Prague")),
)

# (place, the town that many take for its capital); the capital is another one.
CONFUSED_CAPITALS = (
    *(("Australia", "Sydney"), ("Canada", "Toronto"), ("Turkey", "Istanbul"), ("Brazil", "Rio de Janeiro")),
    *(("Switzerland", "Zurich"), ("the United States", "New York City"), ("New Zealand", "Auckland"), ("Nigeria", "Lagos")),
    *(("Kazakhstan", "Almaty"), ("Morocco", "Casablanca"), ("Vietnam", "Ho Chi Minh City"), ("Pakistan", "Karachi")),
    *(("India", "Mumbai"), ("China", "Shanghai"), ("Tanzania", "Dar es Salaam"), ("Myanmar", "Yangon")),
    *(("the United Arab Emirates", "Dubai"), ("Ecuador", "Guayaquil"), ("Germany", "Frankfurt"), ("Italy", "Milan")),
    *(("Spain", "Barcelona"), ("Scotland", "Glasgow"), ("Belize", "Belize City"), ("Cameroon", "Douala")),
    *(("Libya", "Benghazi"), ("Saudi Arabia", "Jeddah"), ("Poland", "Krakow"), ("Portugal", "Porto")),
    *(("Russia", "Saint Petersburg"), ("Greece", "Thessaloniki"), ("Kenya", "Mombasa"), ("Malawi", "Blantyre")),
    *(("Egypt", "Alexandria"), ("Austria", "Salzburg"), ("Sweden", "Gothenburg"), ("Norway", "Bergen")),
    *(("Belgium", "Antwerp"), ("Wales", "Swansea"), ("California", "Los Angeles"), ("the state of New York", "New York City")),
    *(("Florida", "Miami"), ("Texas", "Houston"), ("Illinois", "Chicago"), ("the state of Washington", "Seattle")),
    *(("Pennsylvania", "Philadelphia"), ("Michigan", "Detroit"), ("Nevada", "Las Vegas"), ("Louisiana", "New Orleans")),
    *(("Oregon", "Portland"), ("Kentucky", "Louisville"), ("Missouri", "Saint Louis"), ("Alaska", "Anchorage")),
    *(("Maryland", "Baltimore"), ("North Carolina", "Charlotte"), ("Ohio", "Cleveland"), ("Minnesota", "Minneapolis")),
    *(("Wisconsin", "Milwaukee"), ("Tennessee", "Memphis"), ("New Mexico", "Albuquerque"), ("Alabama", "Birmingham")),
)

ELEMENT_SYMBOLS = (
    *(("oxygen", "O"), ("hydrogen", "H"), ("carbon", "C"), ("nitrogen", "N"), ("helium", "He"), ("calcium", "Ca")),
    *(("lithium", "Li"), ("zinc", "Zn"), ("nickel", "Ni"), ("silicon", "Si"), ("neon", "Ne"), ("aluminium", "Al")),
)
# (element, the symbol its English name suggests); the right one comes from another language.
CONFUSED_SYMBOLS = (
    *(("gold", "Go"), ("sodium", "So"), ("iron", "Ir"), ("silver", "Si"), ("potassium", "Po"), ("lead", "Le"), ("tin", "Ti")),
    *(("mercury", "Me"), ("tungsten", "Tu"), ("copper", "Co"), ("antimony", "An")),
)
