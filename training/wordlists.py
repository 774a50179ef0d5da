"""Fixed item pools written for this project: first names, last names and small everyday categories.

The larger pool of plain words is counted from the training texts (see ``texts.py``); pseudo-words are
generated (see ``tasks.py``).  Which items are held out is decided by a hash, never by hand.
"""

FIRST_NAMES = """
Aaron Abby Ada Adam Adele Ahmed Aisha Alan Albert Alex Alice Alma Amara Amber Amir Amy Ana Andre Andy Angela Anita Anna
Anton Aria Arthur Asha Astrid Ava Axel Barbara Basil Beatrix Bella Ben Bianca Bill Bo Bob Boris Brian Bruno Caleb Camila
Carl Carla Carmen Cecil Chad Chen Chloe Chris Clara Cleo Colin Cora Craig Cyrus Daisy Dan Dana Daniel Daria David Dean
Deepa Delia Dennis Diana Diego Dina Dora Doug Dylan Earl Eddie Edgar Edith Elena Eli Elias Elise Ella Ellen Elliot Elsa
Emil Emily Emma Eric Erin Esther Ethan Eva Evan Faith Farah Felix Fiona Flora Frank Fred Frida Gabe Gail Gary George
Gina Grace Greta Gus Hana Hank Hannah Harry Hazel Heidi Helen Henry Hugo Ian Ida Igor Ilse Ines Ingrid Ira Iris Irma
Isaac Ivan Ivy Jack Jacob Jade James Jan Jane Jared Jason Jean Jill Joan Joe Joel John Jonas Jorge Jose Joy Juan Judy
Julia Jun Kai Kara Karen Karim Karl Kate Keith Kelly Ken Kevin Kim Kira Kurt Kyle Lana Lara Lars Laura Leah Lena Leo
Leon Liam Lila Lily Lina Linda Lisa Liz Lola Lou Lucas Lucy Luis Luna Lydia Mabel Maggie Malik Mara Marco Maria Marie
Mark Marta Mary Max Maya Megan Mei Mia Mike Mila Mina Mira Moira Mona Nadia Nancy Naomi Nate Ned Neil Nell Nico Nina
Noah Nora Olaf Olga Oliver Olivia Omar Oscar Otto Owen Pablo Paula Pedro Peggy Penny Perry Pete Phil Pia Priya Quinn
Rachel Raj Ralph Ramon Raul Ravi Ray Rita Rob Rosa Rose Ross Ruby Rudy Ruth Ryan Sally Sam Sara Scott Sean Selma Seth
Shane Sid Silas Simon Sofia Sonia Stan Stella Steve Sue Susan Sven Tanya Tara Ted Tess Theo Tim Tina Toby Todd Tom Tony
Tora Tracy Uma Una Ursula Vera Vic Victor Viola Wade Walt Wanda Wendy Will Xena Yara Yuki Yusuf Zack Zara Zelda Zoe
""".split()

LAST_NAMES = """
Abbott Adams Allen Alvarez Anders Archer Baker Banks Barnes Barton Becker Bell Bennett Berg Bishop Black Blake Bloom
Bond Bowen Boyd Brady Brandt Brooks Brown Bryant Burke Burns Byrd Campbell Carr Carter Castro Chan Chandra Chang Clark
Cohen Cole Collins Conway Cook Cooper Costa Cox Craig Cruz Dale Daly Davis Dawson Day Dean Delgado Diaz Dixon Doyle Drake
Duncan Dunn Eaton Ellis Evans Farrell Fields Fischer Fisher Flynn Ford Foster Fox Francis Frost Fuller Garcia Gibson
Gilbert Goldberg Gomez Gonzalez Gordon Graham Grant Gray Green Griffin Gupta Hall Hansen Harper Harris Hart Hayes Heath
Henson Hill Hoffman Holt Howard Hudson Hughes Hunt Ibrahim Ivanov Jackson Jacobs James Jensen Johnson Jones Jordan Joshi
Kane Kaplan Keller Kelly Khan Kim King Klein Knight Kovacs Kumar Lane Larsen Lee Lewis Li Lin Logan Long Lopez Lowe Lynch
Lyons Malone Marsh Martin Mason Mayer Mendez Meyer Miller Mills Moore Morgan Morris Moss Murphy Murray Myers Nash Nelson
Newman Nguyen Nolan Norris Novak Olsen Ortiz Owens Page Palmer Park Parker Patel Payne Pearce Perez Perry Peters Porter
Powell Price Quinn Ramos Reed Reyes Rice Rivera Roberts Robinson Rogers Rossi Rowe Russell Ryan Santos Sato Schmidt Scott
Sharma Shaw Silva Simpson Singh Smith Snow Spencer Stone Strand Suarez Sutton Swan Tanaka Taylor Thomas Torres Tucker
Turner Vance Vargas Vega Vogel Wagner Walker Wallace Walsh Wang Ward Watson Weaver Webb Weber West White Wilson Wolf Wong
Wood Wright Wu Yamada Yang York Young Zhang Ziegler
""".split()

CATEGORIES = {
    "fruits": """apple apricot avocado banana blackberry blueberry cherry coconut cranberry date fig grape grapefruit guava
kiwi lemon lime lychee mango melon nectarine olive orange papaya peach pear persimmon pineapple plum pomegranate quince
raspberry strawberry tangerine watermelon""",
    "vegetables": """artichoke asparagus bean beet broccoli cabbage carrot cauliflower celery corn cucumber eggplant garlic
ginger kale leek lettuce mushroom onion parsley parsnip pea pepper potato pumpkin radish spinach squash tomato turnip
yam zucchini""",
    "animals": """ant badger bat bear beaver bee bird bison camel cat chicken cow crab crow deer dog dolphin donkey duck eagle
elephant falcon ferret fish flamingo fox frog giraffe goat goose hamster hawk hedgehog hippo horse jaguar kangaroo koala
leopard lion lizard llama mole monkey moose mouse otter owl ox panda parrot peacock penguin pig pigeon pony rabbit raccoon
rat raven salmon seal shark sheep skunk sloth snail snake spider squirrel swan tiger toad trout turkey turtle walrus wasp
weasel whale wolf worm yak zebra""",
    "colors": """amber beige black blue bronze brown coral crimson cyan gold gray green indigo ivory lavender lilac magenta
maroon navy olive orange pink purple red scarlet silver tan teal turquoise violet white yellow""",
    "foods": """bacon bagel bread burger butter cake candy cheese chips chocolate coffee cookie cracker cream egg flour ham
honey jam juice milk muffin noodles oatmeal pancake pasta pie pizza popcorn rice salad salt sandwich sauce sausage soup
steak sugar syrup taco tea toast tofu waffle water yogurt""",
    "cities": """Amsterdam Athens Austin Bangkok Barcelona Beijing Berlin Bogota Boston Brussels Budapest Cairo Chicago
Copenhagen Dallas Delhi Denver Dublin Geneva Hamburg Hanoi Helsinki Istanbul Jakarta Kyoto Lagos Lima Lisbon London Madrid
Manila Melbourne Miami Milan Montreal Moscow Mumbai Munich Nairobi Naples Oslo Paris Prague Riga Rome Seattle Seoul
Shanghai Sofia Stockholm Sydney Tokyo Toronto Venice Vienna Warsaw Zurich""",
    "countries": """Argentina Australia Austria Belgium Brazil Canada Chile China Colombia Cuba Denmark Egypt Finland France
Germany Ghana Greece Hungary Iceland India Iran Ireland Israel Italy Japan Kenya Malta Mexico Morocco Nepal Norway Peru
Poland Portugal Russia Spain Sweden Thailand Turkey Uganda Ukraine Vietnam""",
    "objects": """ball basket bed bell bench blanket boat book bottle bowl box brush bucket button candle car chair clock coat
cup curtain desk dish doll door drum envelope eraser feather fence flag fork glass glove guitar hammer hat jacket jar key
kite knife ladder lamp lantern leaf letter map mirror mug nail needle notebook paper pen pencil piano pillow plate pocket
purse ribbon ring rocket rope ruler sail scarf scissors shelf shirt shoe soap sock spoon stamp stick stone string table
tent towel toy train truck umbrella vase violin wagon wallet watch wheel whistle window""",
    "jobs": """actor artist author baker banker barber builder butcher carpenter chef clerk coach cook dancer dentist doctor
driver editor engineer farmer fireman fisher gardener guard hunter judge lawyer librarian mechanic miner musician nurse
painter pilot plumber poet potter sailor scientist singer soldier tailor teacher waiter weaver writer""",
    "days and months": """Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July
August September October November December""",
}
CATEGORIES = {k: v.split() for k, v in CATEGORIES.items()}
