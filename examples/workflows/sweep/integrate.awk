# The integral of the sine from 0 to pi, which is 2: prints the error, the method and the points.

function weight(method, i, n) {
    if (method == "rectangles") return i < n ? 1 : 0
    if (i == 0 || i == n) return method == "simpson" ? 1 / 3 : 1 / 2
    if (method == "simpson") return i % 2 ? 4 / 3 : 2 / 3
    return 1
}

BEGIN {
    method = ARGV[1]
    n = ARGV[2]
    pi = atan2(0, -1)
    width = pi / n
    for (i = 0; i <= n; i++) sum += weight(method, i, n) * sin(i * width)
    error = sum * width - 2
    printf "%.3e %s %d\n", error < 0 ? -error : error, method, n
}
