// For programs whose test is that they link.
int main()
{
}
