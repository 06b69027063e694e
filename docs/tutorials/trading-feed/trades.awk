# A feed of 300 trades of four symbols: awk -f trades.awk. With -v sums=1 what they add up to.
BEGIN {
    split("ACME BOLT CORA DUNE", symbols)
    for (n = 0; n < 300; n++) {
        symbol = symbols[1 + (n * 7) % 11 % 4]
        cents = 1000 + (n * 37) % 451
        quantity = 1 + (n * 13) % 29
        if (!sums)
            printf "%s:%d.%02d %d\n", symbol, cents / 100, cents % 100, quantity
        trades[symbol]++; pieces[symbol] += quantity; value[symbol] += cents * quantity
    }
    for (n = 1; sums && n <= 4; n++) {
        symbol = symbols[n]
        printf "%s %d trades, %d pieces, %.2f in all, %.4f a piece\n", symbol, trades[symbol],
            pieces[symbol], value[symbol] / 100, value[symbol] / 100 / pieces[symbol]
    }
}
