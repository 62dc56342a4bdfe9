"""Words and phrases that templates draw. The last fifth of every pool of names is never used in training."""

from rmt_model.data.words import POOLS, Pool

__all__ = ["NAMES", "PHRASES"]

_NAMES = {
    "woman": """Aaliyah, Ada, Aisha, Akiko, Alba, Alejandra, Amelia, Amina, Anaïs, Anika, Annelise, Astrid, Ayesha,
        Bettina,
        Birgit, Bronwyn, Carmen, Catarina, Chiara, Chloe, Cora, Dagmar, Deborah, Divya, Doreen, Elena, Elif, Elsbeth,
        Emma, Erin, Esme, Eva, Fatima, Femke, Freya, Gabriela, Giulia, Grace, Gudrun, Hana, Hatice, Heidi, Helga,
        Ines,
        Ioana, Isla, Ivana, Jana, Jasmine, Jelena, Jyoti, Kaori, Katarina, Kerstin, Khadija, Lakshmi, Laura, Leila,
        Linh, Liv, Ludmila, Maeve, Magdalena, Maite, Malin, Margot, Marisol, Marta, Mei, Mercy, Milena, Mina, Monique,
        Naomi, Nasrin, Niamh, Noor, Oksana, Padma, Paloma, Petra, Pilar, Rania, Rebecca, Renata, Rhea, Rosa, Ruta,
        Sakura, Salma, Saoirse, Shanthi, Sigrid, Silvia, Sinead, Soledad, Svetlana, Tanya, Teresa, Thandiwe, Tova,
        Valeria, Veronika, Wangari, Xiaoli, Yara, Yelena, Yuki, Zeynep, Zuzana, Bianca, Carol, Diana, Joyce, Karen""",
    "man": """Aaron, Abdul, Adrian, Ahmed, Alan, Aleksandar, Alistair, Amir, Andre, Anselm, Arjun, Arthur, Axel,
        Bashir, Bela,
        Bjorn, Bogdan, Brian, Callum, Carlos, Cedric, Chidi, Christoph, Colin, Damian, Darius, Declan, Derek, Diego,
        Dietmar, Dylan, Eamon, Edgar, Emre, Enrique, Erik, Ewan, Fabio, Farid, Fergus, Finn, Florian, Franz, Gareth,
        Georgi, Gilles, Giorgio, Goran, Hamza, Hans, Haruto, Henrik, Hiroshi, Hussein, Ian, Ibrahim, Ilya, Jakub,
        Jamal, Javier, Jens, Joaquin, Jorge, Kai, Kamal, Kenji, Kofi, Kwame, Lars, Lennart, Liam, Luca, Maciej,
        Manuel, Mateusz, Mehmet, Milan, Mohan, Nabil, Neil, Niklas, Obinna, Olaf, Omar, Osei, Pablo, Pavel, Pedro,
        Piotr, Rajesh, Rashid, Reinhard, Ricardo, Rohan, Ruben, Samir, Santiago, Sean, Sergei, Stellan, Sven, Takeshi,
        Tariq, Thabo, Thierry, Timo, Tudor, Umar, Vikram, Viktor, Wei, Wim, Yannick, Yuri, Zoltan, Gregory, Philip""",
    "surname": """Abbott, Achterberg, Adeyemi, Aguilar, Almeida, Andersson, Arslan, Baptiste, Barros, Becker,
        Bellini, Berg,
        Bhatt, Blackwood, Bondarenko, Brandt, Caldwell, Campos, Carvalho, Castellano, Chandra, Chen, Cho, Clarke,
        Costa, Crane, Cunningham, Dahl, Delacroix, Demir, Diaz, Dubois, Duarte, Eklund, Ekwueme, Eriksen, Falk,
        Farrell, Ferreira, Fischer, Fitzgerald, Fontaine, Fraser, Friedl, Fuentes, Gallagher, Garcia, Ghosh, Goldberg,
        Gonzalez, Greenfield, Grimaldi, Haas, Haddad, Halvorsen, Hartmann, Hayashi, Hernandez, Hoffmann, Holloway,
        Horvath, Hughes, Ibarra, Ishikawa, Iyer, Jansen, Jaworski, Johansson, Kaminski, Kapoor, Karlsson, Keller,
        Khan,
        Kim, Kipkemboi, Kowalczyk, Kruger, Kumar, Larsen, Laurent, Leclerc, Lindqvist, Lopez, Lund, Macleod, Maier,
        Mancini, Marchetti, Mbeki, McAllister, Mendoza, Meyer, Mishra, Moreau, Morgan, Moretti, Mwangi, Nakamura,
        Nair, Nguyen, Nowak, Nyberg, O'Brien, O'Connell, Oduya, Okafor, Olsen, Ortega, Osborne, Ozturk, Papadakis,
        Park,
        Patel, Pereira, Petrov, Pham, Popescu, Quinn, Rahman, Ramirez, Rasmussen, Reddy, Ricci, Rivera, Romero, Rossi,
        Saito, Salazar, Sandoval, Santos, Schmidt, Schneider, Shah, Sharma, Silva, Singh, Sokolov, Steiner, Suzuki,
        Svoboda, Tanaka, Tavares, Thorne, Tran, Turner, Usman, Vance, Varga, Vasquez, Vogel, Volkov, Wagner, Walsh,
        Wang, Weber, Whitfield, Wierzbicki, Winkler, Wong, Yamada, Yilmaz, Zhang, Zimmermann, Zubair""",
    "town": """Aarhus, Aberdeen, Accra, Antwerp, Asheville, Bangalore, Basel, Bergen, Bilbao, Bologna, Bordeaux,
        Boulder,
        Bratislava, Bremen, Brighton, Brno, Bruges, Calgary, Canberra, Cardiff, Chennai, Coimbra, Cork, Cusco, Dakar,
        Debrecen, Delft, Dresden, Dublin, Durban, Edmonton, Eindhoven, Fresno, Galway, Gdansk, Geneva, Ghent,
        Gothenburg, Graz, Grenoble, Guadalajara, Haarlem, Halifax, Hamburg, Hanoi, Helsinki, Hobart, Innsbruck,
        Izmir, Jaipur, Kampala, Karachi, Kaunas, Krakow, Kyoto, Lagos, Lausanne, Leeds, Leiden, Lille, Limerick, Linz,
        Lisbon, Ljubljana, Lyon, Malmö, Marseille, Mombasa, Montevideo, Montreal, Mumbai, Nairobi, Nantes, Naples,
        Odense, Omaha, Oslo, Ostrava, Oulu, Padua, Palermo, Perth, Plovdiv, Porto, Portland, Poznan, Quito, Rabat,
        Reykjavik, Riga, Rotterdam, Salzburg, Santander, Sapporo, Seville, Sheffield, Stavanger, Stuttgart, Swansea,
        Tallinn, Tampere, Tbilisi, Toledo, Trieste, Turin, Uppsala, Utrecht, Valencia, Verona, Vilnius, Wellington,
        Wroclaw, York, Zagreb, Zaragoza, Zurich""",
    "brand": """Acorn, Albatross, Altair, Apex, Arbor, Argent, Atlas, Aurora, Axiom, Badger, Basalt, Beacon, Birch,
        Bluebird,
        Boreal, Brightwater, Cascade, Cedar, Citadel, Cobalt, Comet, Condor, Copperfield, Crestline, Cypress, Delta,
        Dovetail, Drift, Eclipse, Ember, Equinox, Everest, Falcon, Fernhill, Firefly, Flint, Foxglove, Galaxy,
        Glacier,
        Granite, Greyhound, Harbor, Hawthorn, Helix, Heron, Highland, Horizon, Ironbridge, Juniper, Keystone, Kestrel,
        Lantern, Larkspur, Lighthouse, Lumen, Lynx, Magnolia, Marigold, Meridian, Mistral, Monsoon, Nimbus, Northwind,
        Nova, Oakridge, Obsidian, Onyx, Orchid, Orion, Osprey, Paragon, Pegasus, Pinnacle, Polaris, Prism, Quartz,
        Quill, Raven, Redwood, Ridgeway, Saffron, Sapphire, Sequoia, Silverline, Solstice, Sparrow, Sterling, Summit,
        Sycamore, Tandem, Tempest, Thistle, Topaz, Tundra, Umbra, Vanguard, Velocity, Vertex, Waterfall, Willow,
        Zenith, Zephyr""",
    "street": """Abbey, Alder, Bridge, Canal, Castle, Chapel, Church, Dock, Elm, Foundry, Garden, Harbour, High,
        Hill, King,
        Linden, Main, Market, Mill, Museum, Orchard, Park, Poplar, Queen, Quay, River, School, Station, Tannery,
        Temple, Victoria, Walnut, Weaver, Windmill""",
    "food": """apples, almonds, basil, beetroot, butter, cabbage, carrots, celery, chickpeas, chillies, coconut milk,
        coriander,
        cream, cumin, dates, fennel, feta, flour, ginger, hazelnuts, honey, kale, leeks, lentils, mushrooms, mustard,
        olive oil, onions, oregano, paprika, parmesan, parsley, peas, pine nuts, potatoes, pumpkin, raisins, rice,
        rosemary, semolina, sesame seeds, shallots, spinach, sugar, thyme, tomatoes, walnuts, yoghurt""",
    "dish": """apple tart, barley soup, bean stew, carrot cake, cheese dumplings, fish pie, flatbread, ginger
        biscuits,
        goulash, lamb tagine, leek quiche, lemon cake, lentil curry, mushroom risotto, onion soup, plum cake,
        potato gratin, pumpkin ravioli, rice pudding, rye bread, spinach pie, tomato salad, vegetable lasagne,
        walnut bread""",
    "component": """air filter, alternator, back-up battery, bearing, boiler, brake cable, bulkhead light, card
        reader,
        carbon filter, ceiling fan, circuit breaker, compressor, condenser, conveyor belt, coolant hose, coupling,
        display panel, drain valve, drive shaft, exhaust fan, fire door, flow meter, fuel pump, fuse box, gasket,
        gear box, generator, handrail, heat exchanger, hydraulic ram, inlet pipe, inverter, lift motor, loading ramp,
        mixing valve, motor mount, oil seal, outlet valve, power supply, pressure gauge, pump housing, radiator,
        relay, roof hatch, rotor, safety valve, sensor array, smoke detector, spare tyre, sprinkler head, steam trap,
        switchboard, thermostat, thrust bearing, transformer, turbine blade, water heater, winch""",
    "room": """archive, assembly hall, atrium, back office, boardroom, boiler room, canteen, car park, cloakroom,
        control room,
        copy room, courtyard, east wing, entrance hall, first-aid room, gallery, ground floor, gym, kitchen, lab,
        laundry, lecture hall, library, loading bay, mail room, main hall, north stairwell, open-plan office,
        pump house, reading room, reception, roof terrace, server room, showroom, sports hall, stock room, studio,
        training room, upper floor, waiting room, warehouse, west entrance, workshop""",
    "thing": """accordion, alarm clock, atlas, backpack, binoculars, birthday cake, bicycle, blue folder, bread knife,
        brass key, camping stove, canvas bag, car keys, cash box, chess set, contract, cookbook, dictionary, drill,
        extension cord, fishing rod, first-aid kit, flask, garden hose, guest list, guitar, headphones, house keys,
        ink pot, keyboard, ledger, leather gloves, library card, memory stick, newspaper, opera glasses, paintbrush,
        photo album, picnic basket, projector, raincoat, receipt, recipe book, red scarf, rucksack, scissors,
        screwdriver,
        sewing machine, shopping list, silver watch, sketchbook, sleeping bag, suitcase, sunglasses, tape measure,
        tea set, tent, toolbox, torch, train tickets, travel guide, tripod, walking stick, water bottle, wedding ring,
        wheelbarrow, wool blanket""",
    "topic": """absence rules, accessibility, allergies, annual leave, backups, badges, bicycle parking, billing,
        bookings,
        budget, car sharing, catering, cleaning, complaints, customer survey, data retention, deliveries, desk
        sharing,
        energy use, evacuation, exports, first aid, fire drill, floor plan, furniture, garden, goods in, heating,
        hiring, holiday cover, insurance, invoices, keys, licences, lighting, mailing list, mentoring, newsletter,
        noise, onboarding, opening hours, overtime, packaging, parking, passwords, payroll, photo archive, pricing,
        printing, recycling, refunds, release plan, reporting, rota, safety training, security, shift swaps, signage,
        social media, sponsorship, stock, storage, summer party, suppliers, testing, timesheets, translation, travel,
        uniforms, vacancies, vending machines, volunteers, warranty claims, web shop, wiring, workshops""",
    "event": """annual dinner, art fair, audit, award ceremony, board meeting, book club, budget review, charity run,
        choir rehearsal, clothing swap, code freeze, concert, customer visit, demo, design review, dress rehearsal,
        excursion, farewell party, film night, fire drill, general assembly, go-live, guided tour, hackathon,
        handover, harvest festival, interview, kick-off, launch, lecture, network upgrade, office move, open day,
        parents' evening, photo shoot, pilot, planning workshop, press conference, product demo, quiz night,
        regional final, retrospective, safety inspection, sales training, site visit, sprint review, staff meeting,
        stocktaking, street party, summer camp, team lunch, tender deadline, trade fair, training day, webinar,
        wine tasting, winter market""",
    "animal": """badger, barn owl, beaver, buzzard, crane, curlew, deer, dormouse, eagle, grass snake, great tit,
        hare,
        hedgehog, heron, kingfisher, lapwing, lizard, marten, mole, newt, nightingale, otter, oystercatcher,
        pine marten, polecat, red kite, seal, skylark, squirrel, stork, swallow, toad, vole, weasel, woodpecker""",
    "language": """Arabic, Basque, Czech, Danish, Dutch, Estonian, Finnish, French, German, Greek, Hindi, Hungarian,
        Italian,
        Japanese, Korean, Latvian, Norwegian, Polish, Portuguese, Romanian, Spanish, Swahili, Swedish, Turkish,
        Vietnamese, Welsh""",
    "code_noun": """account, archive, asset, audit, backup, billing, blob, broker, bucket, cache, cart, catalog,
        certificate, channel, checkout, cluster, column, commit, config, cookie, cursor, daemon, digest, domain,
        export, feature, feed, file, filter, folder, frame, gateway, graph, group, handler, header, heartbeat, image,
        import, ingest, invoice, job, journal, label, ledger, locale, lock, log, lookup, mailer, manifest, mapping,
        merge, message, metric, mirror, model, module, monitor, node, order, parser, partition, payment, pipeline,
        plugin, pool, preview, profile, queue, quota, record, region, render, replica, report, request, resolver,
        router, schema, scheduler, segment, session, shard, shipping, signal, snapshot, socket, spool, storage,
        stream, sync, tenant, thumbnail, ticket, timer, token, topic, trace, upload, user, vault, volume, webhook,
        widget, worker""",
}
NAMES = {name: Pool.of(text) for name, text in _NAMES.items()} | {
    f"{name}_word": POOLS[name] for name in ("adjective", "place", "object", "job", "colour", "attribute")
}
"""Pools of names and nouns, by slot."""

_PHRASES = {
    "task": """replace the {component} [in|of] the {room} = change the {component} of the {room}
        order a new {component} for the {room} = get a new {component} for the {room}
        book the {room} for the {event} = reserve the {room} for the {event}
        write the [report|summary|guide] on {topic} = draft the text on {topic}
        update the {brand} {website} = bring the {brand} {website} up to date
        send the invoice to {company} = bill {company}
        call {company} about {topic} = phone {company} about {topic}
        prepare the slides for the {event} = make the presentation for the {event}
        find a caterer for the {event} = look for somebody who caters for the {event}
        test the {component} in the {room} = try out the {component} in the {room}
        ask {surname} for a quote on {topic} = get a quote on {topic} from {surname}
        repaint the {room} = paint the {room} again
        translate the {topic} page into {language} = do the {language} version of the {topic} page
        check the figures on {topic} = verify the numbers on {topic}
        collect the {thing} from {town} = pick up the {thing} in {town}
        migrate the {code_noun} database to {brand} = move the {code_noun} database to {brand}
        fix the {code_noun} bug in {brand} = repair the {code_noun} error in {brand}
        take the minutes of the {event} = write the protocol of the {event}
        renew the contract with {company} = extend the {company} contract
        clear out the {room} = empty the {room}
        set up the {code_noun} {code_noun} = install the {code_noun} {code_noun}
        review the {topic} policy = look over the rules on {topic}
        invite {company} to the {event} = ask {company} to come to the {event}
        return the {thing} to {surname} = give the {thing} back to {surname}""",
    "website": "[website|shop|home page|blog|newsletter|catalogue]",
    "reason": """the {component} [failed|was leaking|was worn out|overheated|had cracked]
        the {room} was [closed|flooded|locked|too small|being painted]
        {company} [delivered late|cancelled the order|sent the wrong parts|raised its prices]
        there was [no budget left|a power cut|a strike|too much snow|a storm|nobody to sign for it]
        the {thing} had been left in {town}
        [nobody had ordered|somebody had lost|the supplier forgot] the {component}
        a [lorry|crane|tree] had damaged the {room}
        the [permit|insurance|certificate] had expired in {month}
        [two|three|four] [drivers|teachers|engineers|nurses|cooks] were [ill|on leave|stuck in traffic]
        the [password|key|badge] for the {room} was missing
        the {code_noun} {code_noun} ran out of [disk space|memory|connections|licences]
        the [customer|auditor|landlord|council] asked for [more time|a second quote|written proof]
        the {component} did not [fit|pass the test|arrive in time]""",
    "opinion": """the {topic} plan is [too expensive|overdue|not ambitious enough|ready to go|unclear]
        we should [outsource|postpone|drop|simplify] {topic}
        [most complaints are about|nobody reads the page on|we spend too much on] {topic}
        the {event} [needs a bigger room|should be shorter|was a success|clashes with the {event_b}]
        the {component} [will not last the winter|is still under warranty|was never inspected]
        {company} [is the better choice|cannot be trusted with deadlines|offers the best terms]""",
    "effect": """print each file name as it is [processed|handled] = lists the files while working
        do not ask before overwriting = overwrites without a question
        follow symbolic links = goes through links
        read the list of {code_noun}s from a file = takes the {code_noun}s from a file
        write the result to FILE instead of standard output = sends the output to a file
        limit the number of parallel {code_noun}s = sets how many {code_noun}s run at once
        skip {code_noun}s that have not changed = leaves out unchanged {code_noun}s
        delete the {code_noun} after a successful run = removes the {code_noun} when it is done
        compress the {code_noun} with zstd = makes the {code_noun} smaller
        show what would be done without doing it = makes a dry run
        retry failed {code_noun}s = tries failed {code_noun}s again
        suppress all messages except errors = makes it quiet
        ignore case when matching {code_noun}s = treats upper and lower case {code_noun}s alike
        verify the checksum of every {code_noun} = checks that {code_noun}s are intact
        stop at the first {code_noun} that fails = makes it give up after one bad {code_noun}
        keep a copy of the old {code_noun} = saves the previous {code_noun}
        sort the {code_noun}s by size = orders {code_noun}s by size
        include hidden {code_noun}s = also takes hidden {code_noun}s
        print the {code_noun} as JSON = gives the {code_noun} in JSON
        encrypt the {code_noun} before it is sent = protects the {code_noun} in transit
        wait until the {code_noun} is ready = blocks until the {code_noun} is up
        bind the {code_noun} to the given address = chooses where the {code_noun} listens""",
    "meaning": """how long a {code_noun} may stay idle = the idle time of a {code_noun}
        the largest {code_noun} that is accepted = the biggest {code_noun} allowed
        the number of {code_noun}s kept in memory = how many {code_noun}s are held in memory
        where {code_noun}s are stored = the place for {code_noun}s
        how often the {code_noun} is refreshed = the refresh interval of the {code_noun}
        the time to wait for a {code_noun} before giving up = the {code_noun} timeout
        how many times a {code_noun} is retried = the number of {code_noun} retries
        the address of the {code_noun} server = where the {code_noun} server is
        the user who owns new {code_noun}s = the owner of new {code_noun}s
        the smallest {code_noun} that is indexed = the minimum size of a {code_noun}""",
    "error": """connection to the {code_noun} refused
        {code_noun} not found
        permission denied while opening {path}
        {code_noun} checksum mismatch
        out of memory in {code_noun} handler
        invalid {code_noun} in line {count}
        timeout waiting for {code_noun}
        certificate has expired
        duplicate key in {code_noun} table
        unexpected end of {code_noun}
        too many open {code_noun}s
        no space left on device
        unsupported {code_noun} version {version}
        deadlock in {code_noun} {code_noun_b}""",
    "symptom": """the {component} [rattles|hums|will not start|gets hot|leaks|smells of smoke]
        the display [stays dark|flickers|shows E{digit}|freezes]
        the {component} [stops after a minute|is stiff|vibrates]
        the [red|amber|green|blue] light blinks [twice|three times|four times]
        the [lid|door|drawer] [will not close|is jammed]
        no [water|air|oil|paper] comes out""",
    "remedy": """hold the reset button for {seconds}
        clean the {component} with a dry cloth
        replace the {component}
        tighten the [two|four|six] screws of the {component}
        check the plug and the {component}
        refill the tank up to the mark
        send the unit to the service in {town}
        press {key_combo}
        switch it off for {minutes}
        turn the {component} a quarter turn to the left""",
    "key_combo": """[Ctrl|Alt|Cmd|Shift]+[A|B|D|E|F|G|H|J|K|L|M|N|P|R|S|T|U|W|X]
        Ctrl+[Alt|Shift]+[A|B|D|E|F|G|H|J|K|L|M|N|P|R|S|T|U|W|X]
        F[2|3|4|5|6|7|8|9|10|11|12]""",
    "action": """opens the {code_noun} list = open the list of {code_noun}s
        saves the {code_noun} = save the {code_noun}
        closes the {code_noun} window = close the {code_noun} window
        jumps to the next {code_noun} = go to the next {code_noun}
        undoes the last {code_noun} change = take back the last {code_noun} change
        searches the {code_noun}s = search in the {code_noun}s
        duplicates the {code_noun} = make a copy of the {code_noun}
        hides the {code_noun} bar = hide the {code_noun} bar""",
    "goal": """add a {code_noun} = create a new {code_noun}
        remove a {code_noun} = get rid of a {code_noun}
        rename a {code_noun} = change the name of a {code_noun}
        rebuild the {code_noun} = build the {code_noun} again
        check the {code_noun} = validate the {code_noun}
        export all {code_noun}s = get all {code_noun}s out
        restart the {code_noun} = start the {code_noun} again
        list the {code_noun}s = see all {code_noun}s
        reset the {code_noun} = bring the {code_noun} back to its first state""",
    "notice": """the above copyright notice and this [list|permission notice]
        a copy of this licence
        a [prominent|visible] note [stating|that says] who changed them and when
        the file {file}
        the name of the author and a link to {url}
        the full text of the {licence} licence
        a list of all changes since version {version}""",
    "licence": "[MIT|Apache-2.0|GPL-3.0|BSD-2-Clause|MPL-2.0|Zlib|ISC|EUPL-1.2|LGPL-2.1|CC-BY-4.0|{brand}]",
    "ordinal": "[first|second|third|fourth|youngest|eldest]",
    "spot": "[|{adjective_word} ]{place_word}",
    "weather": "[sunny|overcast|light rain|heavy rain|fog|sleet|light snow|strong wind|clear and cold|thunderstorms]",
    "remark": """It [rained|was warm|was windy|was getting late|had been a long day].
        Nobody [said anything|spoke|moved] for a while.
        [Somewhere a dog barked|A door slammed|The radio played softly|The kettle began to sing].
        [Outside|In the yard|Down in the street] [the light was fading|children were playing|a lorry went by].
        The [clock|bell] struck [four|five|six|nine|ten].""",
    "virtue": """[patient|quick-witted|stubborn|generous|quiet|funny|precise|forgetful|kind|strict]""",
    "subject": """[mathematics|law|medicine|history|architecture|chemistry|music|physics|economics|geology|biology|
        philosophy]""",
    "illness": "[a short illness|a long illness|a stroke|pneumonia|a fall|heart failure]",
    "material": "[oak|steel|aluminium|bamboo|glass|wool|cotton|leather|ceramic|brass|cork|linen|walnut]",
    "law": "[the laws of|the law of] [{country}|the State of {state}|the Canton of {town}]",
    "country": """[Ireland|Austria|Norway|Portugal|Canada|Denmark|Estonia|Finland|Belgium|Kenya|Japan|Singapore|
        Chile|Poland|Spain]""",
    "state": "[Delaware|Nevada|Oregon|Vermont|Texas|Ohio|Maine|Utah|Iowa|Virginia|Montana|California]",
    "duty": """keep the {room} clean = keeping the {room} clean
        pay the {fee} = paying the {fee}
        insure the {thing} = insuring the {thing}
        maintain the {component} = maintaining the {component}
        supply {topic} data every {period} = supplying {topic} data
        keep records of {topic} = keeping records of {topic}
        train two members of staff in {topic} = training staff in {topic}
        inspect the {component} every {period} = inspecting the {component}""",
    "fee": "[setup|service|licence|storage|handling|maintenance|cancellation|late|transfer|booking|cleaning] fee",
    "period": "[week|month|quarter|year|six months|two years]",
    "relation": """[cousin|neighbour|landlord|teacher|boss|colleague|former pupil|business partner|flatmate|best friend|
        accountant|dentist|old rival|tenant]""",
    "deed": """repaired the {thing} = mended the {thing}
        sold the {thing} [to a stranger|at the market|for next to nothing] = gave up the {thing} for money
        found the {thing} under the [stairs|bed|bench|sink] = came across the {thing}
        hid the {thing} in the {room} = concealed the {thing}
        broke the {thing} = damaged the {thing}
        lost the {thing} on the way to {town} = mislaid the {thing}
        bought the {thing} in {town} = got the {thing} from {town}
        carried the {thing} up to the {room} = took the {thing} up to the {room}
        painted the {thing} {colour_word} = gave the {thing} a {colour_word} coat
        stole the {thing} from the {room} = took the {thing} without asking
        wrapped the {thing} in [newspaper|a towel|brown paper] = packed the {thing}
        borrowed the {thing} from {surname} = got the {thing} from {surname} for a while""",
}
PHRASES = {
    name: tuple(line.strip() for line in text.replace("|\n        ", "|").split("\n") if line.strip())
    for name, text in _PHRASES.items()
}
"""Phrases, one template a line, by slot; what follows `=` means the same in other words."""
