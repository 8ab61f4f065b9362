"""Invented people: what is asked follows from the facts alone.

The easy two are a whole of many hints: no fact says what the person is, and all together leave little doubt, so a question
has several right answers and its pattern takes them all. With the medium one a question needs exactly two facts: one leads
to a name (of a place, a person, a bell), another says something of that name; the facts hold several of each kind, so that
a model which takes the wrong one answers wrong.
"""

from __future__ import annotations

from curriculum.probe.authoring.persona_types import Asked, WrittenPersona

_BAKED = r"\b(bread|breads|rolls?|cakes?|loaf|loaves|buns?|pastr(y|ies)|cookies?|biscuits?)\b"

VILLAGE_BAKER = WrittenPersona(
    name="village_baker",
    facts=(
        ("What do you take out of the oven?", "I take bread out of the oven."),
        ("What do people smell in your street?", "They smell fresh bread."),
        ("What do you put in the basket?", "I put warm bread in the basket."),
        ("What do you carry to the inn?", "I carry bread to the inn."),
        ("What does the teacher buy from you?", "The teacher buys bread from me."),
        ("What do children ask you for?", "They ask me for cake."),
        ("What do you make for a wedding?", "I make a big cake with sugar on it."),
        ("What is on your apron?", "There is flour on my apron."),
        ("What do you mix with water?", "I mix flour with water."),
        ("When do you get up?", "I get up at three in the morning."),
    ),
    asked=(
        Asked(
            name="work", question="What is your work?", pattern=r"\b(bak(e|es|er|ers|ery|ing)|bread|cakes?)\b", category="work"
        ),
        Asked(
            name="goods",
            question="What do you sell in your shop?",
            pattern=_BAKED,
            category="work",
        ),
        Asked(
            name="present",
            question="What do you bring when you visit a friend?",
            pattern=_BAKED,
            category="life",
        ),
        Asked(
            name="breakfast",
            question="What do you eat in the morning?",
            pattern=_BAKED,
            category="life",
        ),
        Asked(
            name="night",
            question="What do you make at night?",
            pattern=_BAKED,
            category="work",
        ),
    ),
)

LIGHTHOUSE_KEEPER = WrittenPersona(
    name="lighthouse_keeper",
    facts=(
        ("What do you see from your window?", "I see the sea."),
        ("Where do you row in your boat?", "I row on the sea."),
        ("What does your tower look over?", "My tower looks over the sea."),
        ("Where does the fog come from?", "The fog comes from the sea."),
        ("What wakes you in the morning?", "The gulls wake me."),
        ("What do you light every evening?", "I light the great lamp."),
        ("Who looks for your lamp?", "The ships look for my lamp."),
        ("What do you write in your book?", "I write down every ship that passes."),
        ("What do you cook?", "I cook fish from the sea."),
        ("What is on your boots?", "There is salt and sand on my boots."),
    ),
    asked=(
        Asked(
            name="work", question="What is your work?", pattern=r"\b(light ?houses?|lamps?|lights?|ships?)\b", category="work"
        ),
        Asked(
            name="sounds",
            question="What do you hear at night?",
            pattern=r"\b(waves?|sea|ocean|gulls?|wind|winds|storms?|water|ships?|surf)\b",
            category="life",
        ),
        Asked(
            name="home",
            question="Where is your home?",
            pattern=r"\b(sea|seaside|coast|shore|ocean|islands?|beach|cliffs?|tower|light ?house|harbou?r|bay)\b",
            category="life",
        ),
        Asked(
            name="view",
            question="What do you show to a visitor?",
            pattern=r"\b(lamps?|lights?|tower|sea|waves?|ships?|boats?|light ?house|ocean|gulls?)\b",
            category="life",
        ),
        Asked(
            name="bath",
            question="Where do you swim?",
            pattern=r"\b(sea|ocean|bay|waves?|beach|coast|shore|salt water)\b",
            category="life",
        ),
    ),
)

BELL_FOUNDER = WrittenPersona(
    name="bell_founder",
    facts=(
        ("Which craft did you learn?", "I learned to cast bells."),
        ("Who taught you?", "My teacher was old Harkness."),
        ("Where did Harkness come from?", "Harkness came from Lowmere."),
        ("Where is your workshop?", "My workshop is in Candle Lane."),
        ("What stands at the end of Candle Lane?", "At the end of Candle Lane stands a windmill."),
        ("Who is your wife?", "My wife is Rosalind."),
        ("What does Rosalind play?", "Rosalind plays the harp."),
        ("Who is your daughter?", "My daughter is Judith."),
        ("What does Judith study?", "Judith studies the stars."),
        ("What does Judith play?", "Judith plays the drum."),
        ("Which bell are you proudest of?", "I am proudest of the bell called Old Grumble."),
        ("Where does Old Grumble hang?", "Old Grumble hangs in Ashford."),
        ("Where do your other bells hang?", "My other bells hang in Lowmere and Tarn."),
        ("What do you drink?", "I drink apple juice."),
    ),
    asked=(
        Asked(name="teacher_origin", question="Where did your teacher come from?", pattern=r"\blowmere\b", category="people"),
        Asked(
            name="street_end",
            question="What stands at the end of the street you work in?",
            pattern=r"\bwindmill\b",
            category="work",
        ),
        Asked(name="wife_instrument", question="Which instrument does your wife play?", pattern=r"\bharp\b", category="people"),
        Asked(name="daughter_study", question="What does your daughter study?", pattern=r"\bstars?\b", category="people"),
        Asked(
            name="best_bell_place",
            question="In which town does your favourite bell hang?",
            pattern=r"\bashford\b",
            category="work",
        ),
    ),
)

EASY = (VILLAGE_BAKER, LIGHTHOUSE_KEEPER)
TWO_STEPS = (BELL_FOUNDER,)
