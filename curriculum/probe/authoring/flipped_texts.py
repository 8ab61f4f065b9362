"""Words and sentences written for the flipped-answer family.

Idea: plain everyday English, each text of one clear class, none taken from anywhere. Alternatives: a public corpus (its
licence, and a model may have read it with its labels). The price: these are few and tidier than what people write.
"""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words("""
    Tom Max Ben Lily Sam Molly Oscar Bella Charlie Rosie Jack Ruby Toby Lucy Leo Anna Peter Clara David Emma Frank Grace
    Henry Irene John Kate Laura Mark Nina Paul Rachel Simon Tara Victor Wendy Adam""")
HOT_THINGS = ("fire", "stove")
COLD_THINGS = ("ice", "snow")
LARGE_THINGS = (("an", "elephant"), ("a", "mountain"))
SMALL_THINGS = (("a", "mouse"), ("an", "ant"))

WELCOME = _words("""
    wonderful lovely happy great excellent delightful superb fantastic joyful charming brilliant pleasant cheerful beautiful
    amazing perfect splendid glorious marvelous kind friendly generous graceful lucky elegant fabulous honest peaceful
    hopeful loving gentle grateful heavenly inspiring magnificent playful radiant refreshing relaxing romantic smiling
    stunning sunny sweet terrific thrilling triumphant""")
UNWELCOME = _words("""
    terrible awful horrible sad bad dreadful disgusting miserable nasty ugly painful cruel boring gloomy dull annoying
    rotten tragic wicked lousy hateful greedy clumsy unlucky filthy dismal dishonest violent hopeless hostile harsh
    ungrateful hellish depressing pathetic bitter hideous exhausting stressful lonely crying appalling stormy sour
    disastrous frightening shameful""")
ANIMALS = _words("""
    dog cat horse tiger rabbit mouse wolf cow sheep goat lion bear monkey eagle duck frog fox camel whale snake pig deer
    elephant zebra giraffe owl crow sparrow shark salmon turtle lizard beaver otter squirrel donkey hamster penguin parrot
    spider""")
PLANTS = _words("""
    rose oak tulip grass daisy pine maple fern ivy moss cactus lily willow clover orchid bamboo cedar shrub violet thistle
    birch dandelion sunflower lavender juniper poppy wheat barley mint basil nettle spruce magnolia hedge vine lotus
    geranium eucalyptus seaweed daffodil""")

OCCASIONS = _words("film book party trip concert meal hotel lesson game show holiday evening")
LIKED = _words("wonderful lovely great excellent delightful superb fantastic brilliant pleasant amazing perfect splendid")
DISLIKED = _words("terrible awful horrible dreadful miserable nasty boring dull annoying lousy disappointing dreary")


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """Clauses about one thing: small flaws and merits, and the great praise or complaint that outweighs them."""

    flaws: tuple[str, ...]
    praise: tuple[str, ...]
    merits: tuple[str, ...]
    complaints: tuple[str, ...]


TOPICS = (
    Topic(
        flaws=("the waiter was a little slow", "the chairs were hard", "the menu was short", "we had to queue outside"),
        praise=(
            "it was the best dinner we have had in years",
            "I would cross the city for that soup",
            "every plate came back empty",
        ),
        merits=("the waiter was polite", "the candles were pretty", "the menu was long", "we got a table at once"),
        complaints=(
            "the fish was raw and we were all ill",
            "nothing on the plate could be eaten",
            "I would rather go hungry than return",
        ),
    ),
    Topic(
        flaws=("the carpet was worn", "the lift was out of order", "breakfast was plain", "the room was rather small"),
        praise=("I have never slept so well", "we have already booked again for next year", "the staff made us feel at home"),
        merits=("the lobby was grand", "the view was fine", "breakfast was ample", "the room was rather large"),
        complaints=(
            "the bed was full of fleas",
            "we packed and left in the middle of the night",
            "the staff shouted at my children",
        ),
    ),
    Topic(
        flaws=("the first chapter drags", "the cover is ugly", "some names are hard to keep apart", "the print is tiny"),
        praise=("I read it twice in one week", "the ending moved me to tears of joy", "it has become my favorite novel"),
        merits=("the first chapter is lively", "the cover is handsome", "the names are well chosen", "the print is clear"),
        complaints=("I gave up halfway and threw it out", "the ending ruins everything before it", "it is a waste of paper"),
    ),
    Topic(
        flaws=("the seats were cramped", "the opening scene is slow", "the sound was too loud", "it runs for three hours"),
        praise=(
            "the whole room stood up to clap",
            "I have thought about it with delight ever since",
            "the acting could not be better",
        ),
        merits=("the seats were soft", "the opening scene is clever", "the music was good", "it is mercifully short"),
        complaints=("half the room walked out", "I wanted my money and my evening back", "the acting could not be worse"),
    ),
    Topic(
        flaws=("the box arrived with a dent", "the manual is brief", "the charger is bulky", "it costs a bit more than others"),
        praise=(
            "it has worked without a fault for five years",
            "I bought three more for my family",
            "it does everything better than I hoped",
        ),
        merits=("the box looked smart", "the manual is thorough", "the charger is light", "it costs a bit less than others"),
        complaints=(
            "it broke on the second day and nobody would help",
            "I regret every cent I spent on it",
            "it overheats and burned my hand",
        ),
    ),
    Topic(
        flaws=("the train left late", "it rained on the first day", "my suitcase was scratched", "the guide spoke too fast"),
        praise=(
            "it was the happiest week of my life",
            "we came home full of stories and new friends",
            "I would leave again tomorrow",
        ),
        merits=("the train left on time", "the weather was fine", "my suitcase arrived first", "the guide spoke clearly"),
        complaints=(
            "it was the worst week of my life",
            "we were robbed twice and came home ill",
            "I would never set foot there again",
        ),
    ),
    Topic(
        flaws=("the classroom was cold", "the homework took long", "the textbook was old", "the lessons began very early"),
        praise=(
            "I learned more than in all my years at school",
            "the teacher changed how I see the world",
            "I was sorry when it ended",
        ),
        merits=("the classroom was bright", "the homework was short", "the textbook was new", "the lessons began at noon"),
        complaints=(
            "I learned nothing at all",
            "the teacher mocked anyone who asked a question",
            "I was relieved when it ended",
        ),
    ),
    Topic(
        flaws=("the kitchen is small", "the stairs creak", "the garden needs work", "the street can be busy"),
        praise=(
            "we fell in love with the house at once",
            "we have been happy here from the first day",
            "nothing could make us move away",
        ),
        merits=("the kitchen is large", "the stairs are new", "the garden is tidy", "the street is quiet"),
        complaints=(
            "the roof leaks onto our beds",
            "we have been miserable here from the first day",
            "we cannot wait to move away",
        ),
    ),
)

HINTS_GOOD = (
    "We stayed until the owner had to ask us to leave.",
    "I have told everyone at work to go and see it.",
    "The children asked when we could come back.",
    "She read the last page slowly so that it would not end.",
    "I forgot to look at my phone all evening.",
    "There was not a crumb left on my plate.",
    "He has played the record every day since he got it.",
    "We have already reserved the same room for next summer.",
    "My grandmother asked the cook for the recipe.",
    "The crowd called the band back on stage four times.",
    "I finished the book in a single night.",
    "It still runs like new after ten winters.",
    "Even my father, who never laughs, laughed.",
    "I went straight back in and bought a second one.",
    "People in the row behind us were humming on the way out.",
    "The line goes round the block every morning, and now I know why.",
    "I kept the ticket in my wallet as a memory.",
    "We missed our bus because nobody wanted to go.",
    "My dog pulls me to their door on every walk.",
    "The whole class signed a card to thank her.",
    "I wish the course had gone on for another year.",
    "He framed the picture and hung it over his bed.",
    "Since I changed to this chair my back no longer hurts.",
    "She wore the coat until it fell apart and then bought the same one.",
    "I saved the last piece for breakfast and could hardly wait.",
    "Our neighbors saw the result and hired the same painter.",
    "Three hours felt like twenty minutes.",
    "I walked home in the rain with a smile.",
    "The baby slept through the night for the first time.",
    "My sister borrowed it and will not give it back.",
    "After the talk the room was full of raised hands and new ideas.",
    "I would pay twice as much for it.",
    "The mechanic fixed it in ten minutes and would not take any money.",
    "We danced until the lights came on.",
    "Every seat has been sold out for months.",
    "He called his mother just to tell her about it.",
    "I now get up early so that I can use it before work.",
    "They waved until our car was out of sight.",
    "The jury did not need long to give it the first prize.",
    "I put my other plans aside to hear the end of it.",
    "My old one is in the bin and I do not miss it.",
    "She has kept every letter they ever sent her.",
    "Guests ask me where I found it.",
    "We named our boat after the place.",
)
HINTS_BAD = (
    "I checked my watch four times before the second act.",
    "We asked for the bill before the main course came.",
    "The children begged us to go home.",
    "She closed the book after ten pages and gave it away.",
    "I slept through the second half.",
    "Most of it went to the dog, and he left it too.",
    "He returned the record the next morning.",
    "We moved to another hotel after one night.",
    "My grandmother pushed her plate away without a word.",
    "By the third song the hall was half empty.",
    "The book has held up my table leg ever since.",
    "It stopped working the day after the guarantee ended.",
    "Even my father, who likes everything, got up and left.",
    "I stood in line for an hour to get my money back.",
    "People in the row behind us were snoring.",
    "There is never a line at their door, and now I know why.",
    "I tore the ticket up on the way out.",
    "We took the first bus back, two days early.",
    "My dog hides under the bed when we drive past it.",
    "The whole class asked for another teacher.",
    "I could not tell you one thing that the course taught me.",
    "He turned the picture to the wall.",
    "Since I changed to this chair I have to see a doctor every week.",
    "The coat lost both its sleeves in the first wash.",
    "I needed a whole jug of water to get the taste out of my mouth.",
    "Our neighbors saw the result and asked who had done this to us.",
    "Twenty minutes felt like three hours.",
    "I walked home in the rain and wished that I had never gone.",
    "The baby has not slept since we bought it.",
    "My sister would not take it even as a present.",
    "After the talk the only question was where the exit was.",
    "I would not take it if they paid me.",
    "The mechanic kept it for ten weeks and lost two of the wheels.",
    "We left before the lights went down.",
    "They gave the seats away and still could not fill them.",
    "He called his lawyer just after he opened it.",
    "I now get up early to do by hand what it was meant to do.",
    "They slammed the door before we had reached our car.",
    "The jury asked whether it was meant as a joke.",
    "I would rather watch paint dry than hear the end of it.",
    "My old one is back in use and the new one is in the bin.",
    "She sends every letter of theirs back unopened.",
    "Guests ask me what that smell is.",
    "We drive the long way round so as not to see the place.",
)
