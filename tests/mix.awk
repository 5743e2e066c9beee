# mix.awk - prints its lines so that neighbours in the list are far apart: tests of one room wait for the same things, or compute
# as much, and a few at a time of every room keep the processors busy from begin to end. The same order each time.
function divisor(a, b) {
    return b ? divisor(b, a % b) : a
}
{
    line[NR - 1] = $0
}
END {
    # Steps of the golden section, which visit every line once where they have no divisor in common with their number.
    for (step = int(NR * 0.618); divisor(NR, step) > 1; step++)
        ;
    for (i = 0; i < NR; i++)
        print line[i * step % NR]
}
