"""Words and sentence patterns of the grammar, by topic. Data only; `grammar.py` draws from it.

A pattern holds slots in braces; a slot names a list among its topic's words or, failing that, in `COMMON_WORDS`.
Items of a list are separated by "|". Chosen so that every English phoneme comes up often.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """What is said about one subject: sentence patterns, and the words for their slots."""

    patterns: tuple[str, ...]
    words: dict[str, str]


COMMON_WORDS: dict[str, str] = {
    "name": (
        "Alice|Boris|Charlotte|Dmitri|Emma|Felix|George|Hannah|Isaac|Joyce|Kevin|Laura|Matthew|Nora|Oscar|"
        "Phoebe|Quentin|Ruth|Sophie|Theo|Ursula|Victor|Wendy|Yusuf|Zoe"
    ),
    "person": (
        "my neighbour|the teacher|our cousin|a young doctor|the captain|her grandfather|the baker|"
        "an old friend|the librarian|a quiet farmer|the engineer|his youngest sister|the postman|"
        "a famous singer"
    ),
    "time": (
        "this morning|last night|on Tuesday|every Thursday|in the afternoon|before breakfast|after lunch|"
        "at half past eight|early in May|during the holidays|a few years ago|next week|at the end of June"
    ),
    "adverb": (
        "slowly|quite suddenly|very carefully|with great pleasure|rather quietly|once again|in a hurry|"
        "without a word|as usual|more or less by chance|for a long while"
    ),
    "number": (
        "two|three|five|seven|nine|eleven|twelve|fourteen|seventeen|twenty|thirty three|forty|fifty six|eighty|"
        "ninety one|a hundred|two hundred and five|a thousand"
    ),
    "opinion": (
        "I believe|we all hope|they say|some people think|it seems|you may have noticed|nobody doubts|"
        "I am fairly sure|everybody knows"
    ),
    "place": (
        "in the village|near the river|behind the church|on the beach|at the market|above the valley|"
        "outside the school|under the old bridge|by the window|around the corner"
    ),
    "closing": (
        "and that was enough|which pleased everyone|but nobody asked why|and the whole room laughed|"
        "so we chose to wait|although it was late|and then we went home|just as we had planned"
    ),
}

TOPICS: dict[str, Topic] = {
    "weather": Topic(
        patterns=(
            "{sky} {change}, {opinion}.",
            "The forecast for {day} is {sky}, so bring {clothes}.",
            "It is {number} degrees {place}, with {sky} and {sky}.",
            "After {number} days of {sky}, {person} finally bought {clothes}.",
            "Do you think {sky} {change}?",
            "When {sky} comes {place}, take {clothes} and walk {adverb}.",
        ),
        words={
            "sky": (
                "thick fog|gentle rain|heavy snow|a warm breeze|bright sunshine|thunder and lightning|"
                "a cold north wind|a cloudy sky|a light shower|some frost"
            ),
            "change": (
                "will reach the coast|should clear away|may return to the hills|is moving towards the south|"
                "could last until the weekend|usually fades by noon|will cover the whole island"
            ),
            "day": "tomorrow|Thursday|the weekend|this evening|New Year|the whole of July",
            "clothes": "a raincoat|thick gloves|your umbrella|a woollen scarf|sun cream|a pair of boots",
        },
    ),
    "cooking": Topic(
        patterns=(
            "First, {do} {food}, and then {do} {food}.",
            "{person} makes {dish} with {food} and {food}.",
            "For {dish} you need {number} grams of butter and {food}.",
            "Let it cook for {number} minutes, then {do} {food}.",
            "Would you like {dish}, or just {food}?",
            "{name} ordered {dish} {time}.",
            "If {dish} smells too strong, {do} {food} {adverb}.",
        ),
        words={
            "food": (
                "fresh tomatoes|chopped onions|a pinch of salt|brown sugar|two cups of flour|"
                "a spoonful of honey|roasted mushrooms|boiled potatoes|a little garlic|grated cheese|"
                "sliced peaches|a jug of milk|olive oil"
            ),
            "do": "stir in|pour over|gently fold in|whisk together|slowly add|fry|mix|measure out|set aside",
            "dish": (
                "the vegetable soup|a birthday cake|our favourite pie|the orange jelly|fish and chips|"
                "the mushroom stew|a bowl of porridge|the apple pudding"
            ),
        },
    ),
    "science": Topic(
        patterns=(
            "{who} {act} {thing} {place}.",
            "{opinion} that {thing} {act} {thing}.",
            "In {number} experiments, {who} always {act} {thing} twice.",
            "What happens when {thing} {act} {thing}?",
            "The question is how {who} {act} {thing} {adverb}.",
            "About {number} years ago, {name} showed that {thing} {act} {thing}.",
            "Nothing {act} {thing} better than {thing}.",
        ),
        words={
            "thing": (
                "a distant galaxy|the human brain|a single atom|the deep ocean|a beam of light|"
                "the magnetic field|a tiny virus|the moon of Jupiter|an electric charge|the speed of sound|"
                "a chemical reaction|a living cell"
            ),
            "act": "measures|observes|describes|changes|explains|heats|reflects|follows|weighs|surrounds",
            "who": (
                "the young scientist|a group of physicists|the telescope|our experiment|this theory|"
                "the new machine|a careful researcher|the journal"
            ),
        },
    ),
    "travel": Topic(
        patterns=(
            "We took {ride} from {town} to {town} {time}.",
            "{name} visited {sight} in {town}, {closing}.",
            "How long does {ride} take to {town}?",
            "The journey to {town} takes {number} hours by {ride}.",
            "{person} showed us {sight} and {sight} {place}.",
            "Please meet me at {sight} in {town} {time}.",
            "From {sight} you can watch {ride} leave for {town}.",
        ),
        words={
            "town": (
                "Edinburgh|Geneva|Vancouver|Shanghai|Cairo|Oslo|Buenos Aires|Jaipur|Chicago|Zurich|Athens|"
                "Nairobi"
            ),
            "ride": (
                "the night train|a small boat|the yellow bus|a cheap flight|her bicycle|the cable car|"
                "a horse and carriage"
            ),
            "sight": (
                "the castle|a museum of toys|the botanical garden|the harbour|an ancient theatre|"
                "the glass tower|the lighthouse"
            ),
        },
    ),
    "greetings": Topic(
        patterns=(
            "{hello}, {name}, and {wish}!",
            "{hello}! My name is {name}, and this is {name}.",
            "{hello}, everyone, {wish}.",
            "Thank you, {name}, it was a pleasure to meet {person}.",
            "How are you today, {name}?",
            "Goodbye, {name}, and {wish}!",
            "Yes, of course.",
            "No, thank you, {name}.",
            "I am so happy that {person} could join us {time}.",
        ),
        words={
            "hello": "Hello|Good morning|Good evening|Welcome back|Hi there|How do you do|Nice to see you",
            "wish": (
                "have a lovely day|take good care of yourself|enjoy the show|sleep well|"
                "give my love to your family|thank you for joining us|make yourself at home"
            ),
        },
    ),
    "stories": Topic(
        patterns=(
            "Once upon a time, {creature} {deed} {place}.",
            "Then {creature} {deed}, {closing}.",
            "{creature} never {deed} again.",
            "While {creature} slept, {creature} {deed} {adverb}.",
            "Was it {creature}, asked {name}, who {deed}?",
            "{time}, {creature} and {creature} {deed}, {closing}.",
            "For {number} long winters, {creature} lived {place}.",
        ),
        words={
            "creature": (
                "a clever fox|the sleepy dragon|a brave mouse|three white geese|the giant with the blue beard|"
                "a thirsty crow|the youngest prince|an enormous whale|a shy hedgehog|the goldsmith"
            ),
            "deed": (
                "crossed the frozen river|opened the wooden box|whispered a secret|"
                "climbed over the garden wall|found a shining ring|jumped into the boat|forgot the magic word|"
                "shouted for joy|built a house of straw"
            ),
        },
    ),
    "numbers": Topic(
        patterns=(
            "{person} {count} {number} {unit}, and {name} {count} {number}.",
            "{number} and {number} more make a lot of {unit}.",
            "Please call {number}, {number}, {number}, and ask for {name}.",
            "Of {number} {unit}, only {number} were left {time}.",
            "Chapter {number} begins on page {number}.",
            "Who {count} the last {number} {unit} {place}?",
            "The train to platform {number} leaves in {number} minutes.",
        ),
        words={
            "unit": "boxes|pages|tickets|chairs|bottles|photographs|pieces of fruit|kilometres|votes|goals",
            "count": "ordered|counted|sold|lost|found|carried|needed|shared",
        },
    ),
}
