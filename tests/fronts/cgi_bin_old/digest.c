/* C, built as digest.cgi: Adler-32 of what is posted. */
#include <stdio.h>

int main(void)
{
    unsigned long a = 1, b = 0, size = 0;
    int c;

    while ((c = getchar()) != EOF) {
        a = (a + (unsigned long)c) % 65521;
        b = (b + a) % 65521;
        size++;
    }
    printf("Content-Type: text/plain\nX-Side: old\n\n%lu %08lx\n", size, b << 16 | a);
    return 0;
}
